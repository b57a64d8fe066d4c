package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/client"
)

// eventsFollower reads the events of all accounts, a page from one core and the next page from another.
type eventsFollower struct {
	w       *world
	ledgers []*client.Ledger
	chains  map[string][]string // by account, in the order of the events
	fault   string
}

// newEventsLedger returns a client that may read the events of all accounts.
func (w *world) newEventsLedger(core *server) *client.Ledger {
	w.Helper()
	ledger, err := client.NewLedger(core.baseURL(), client.LedgerConfig{
		Token:      client.StaticToken(w.signToken("backfill", nil, auth.ScopeEvents)),
		HTTPClient: w.http,
	})
	if err != nil {
		w.Fatal(err)
	}
	return ledger
}

// followAllEvents reads until stop is called. stop returns the follower when it has all events.
func (w *world) followAllEvents(cores ...*server) (stop func() *eventsFollower) {
	w.Helper()
	f := &eventsFollower{w: w, chains: map[string][]string{}}
	for _, core := range cores {
		f.ledgers = append(f.ledgers, w.newEventsLedger(core))
	}
	finish := make(chan struct{})
	ended := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	go func() {
		defer close(ended)
		f.run(ctx, finish)
	}()
	w.Cleanup(func() {
		cancel()
		<-ended
	})
	return func() *eventsFollower {
		w.Helper()
		close(finish)
		<-ended
		if f.fault != "" {
			w.Error(f.fault)
		}
		return f
	}
}

func (f *eventsFollower) run(ctx context.Context, finish chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	cursor := ""
	for n := 0; ctx.Err() == nil && f.fault == ""; n++ {
		isLast := false
		select {
		case <-finish:
			isLast = true
		default:
		}

		page, err := f.ledgers[n%len(f.ledgers)].AllEventsPage(ctx, client.AllEventsFilter{Cursor: cursor, Limit: 20})
		if err != nil {
			<-tick.C // the core was killed
			continue
		}
		for i := range page.Events {
			f.add(&page.Events[i])
		}
		cursor = page.Next
		switch {
		case page.More:
		case isLast:
			return
		default:
			<-tick.C
		}
	}
}

func (f *eventsFollower) add(e *client.StreamEvent) {
	f.chains[e.Account] = append(f.chains[e.Account], e.Chain)
	if int64(len(f.chains[e.Account])) != e.Seq {
		f.fault = "the events of all accounts: got another seq than the next one of " + e.Account
	}
}

// checkAgainst requires the follower to have the events of the accounts as the ledger has them.
func (f *eventsFollower) checkAgainst(a *api, accounts []string) {
	f.w.Helper()
	for _, account := range accounts {
		want := a.readTruth(account).chains
		if !slices.Equal(f.chains[account], want) {
			f.w.Errorf("the events of all accounts: got %d events of %s, want the ledger's %d", len(f.chains[account]), account, len(want))
		}
	}
}

// replayFrom runs core replay on a server, and returns what it prints.
func (w *world) replayFrom(databaseURL string) (output string, err error) {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "core"), "replay", "--output", "-", "--database-url", databaseURL)
	content, err := cmd.CombinedOutput()
	return string(content), err
}

// replayToGroup runs core replay for a group, and returns what it prints.
func (w *world) replayToGroup(group, redisURL string, flags ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	args := []string{"replay", "--group", group, "--database-url", w.databaseURL, "--redis-url", redisURL, "--namespace", w.namespace}
	output, err := exec.CommandContext(ctx, filepath.Join(programs, "core"), append(args, flags...)...).CombinedOutput()
	if err != nil {
		w.Fatalf("core replay: %v\n%s", err, output)
	}
	return strings.TrimSpace(string(output))
}
