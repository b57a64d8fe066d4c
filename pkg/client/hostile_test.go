package client

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

const (
	accountA = "user:a"
	accountB = "user:b"
)

// hostileRun is one client at a hostile gateway.
type hostileRun struct {
	*rapid.T
	gateway *modelGateway
	client  *Client
	readers []*modelReader
	balance *LiveBalance
	loops   sync.WaitGroup
	cancel  context.CancelFunc

	logFirst func(failure string)

	mu      sync.Mutex // protects failure
	failure string     // the first thing that a reader must not be shown
}

// modelReader is a loop over Events that checks each item.
type modelReader struct {
	run      *hostileRun
	heldOnly bool
	permits  chan struct{} // one for each item that the loop may read
	at       map[string]Position
}

// What an app is shown of each account is an unbroken history, or a resync that replaces it; and when
// the trouble ends it is up to date.
func TestHostileGateway(t *testing.T) {
	checks := 10_000
	if raceEnabled {
		checks = 300
	}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = flag.Set("rapid.checks", fmt.Sprint(checks))
		defer func() { _ = flag.Set("rapid.checks", f.DefValue) }()
	}
	var first sync.Once
	rapid.Check(t, func(rt *rapid.T) {
		// The client's pauses are random, so rapid may not reproduce a failure while it shrinks it.
		logFirst := func(failure string) { first.Do(func() { t.Log("the first failure:", failure) }) }
		runInBubble(t, func() { checkHostileRun(rt, logFirst) })
	})
}

// runInBubble runs a function in virtual time. rapid expects its panics in its own goroutine.
func runInBubble(t *testing.T, f func()) {
	var panicked any
	synctest.Test(t, func(*testing.T) {
		defer func() { panicked = recover() }()
		f()
	})
	if panicked != nil {
		panic(panicked)
	}
}

func checkHostileRun(t *rapid.T, logFirst func(string)) {
	r := startHostileRun(t)
	r.logFirst = logFirst
	defer r.end()
	steps := rapid.IntRange(1, 25).Draw(t, "steps")
	for range steps {
		r.step()
		r.check()
	}
	r.heal()
}

func startHostileRun(t *rapid.T) *hostileRun {
	g := &modelGateway{
		ledger: newModelLedger(accountA, accountB),
		conns:  map[*modelConn]bool{},
	}
	c, err := New("ws://model/v1/ws", Config{
		Token:     func(context.Context) (string, error) { return "t", nil },
		Logger:    slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(99)})),
		QueueSize: rapid.IntRange(1, 4).Draw(t, "queue"),
		dial:      g.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &hostileRun{T: t, gateway: g, client: c, cancel: cancel}
	r.balance = c.Balance(accountA)
	r.loops.Go(func() { r.readBalance(ctx) })
	r.startReader(ctx, false, accountA, accountB)
	r.startReader(ctx, true, accountA)
	return r
}

func (r *hostileRun) startReader(ctx context.Context, heldOnly bool, accounts ...string) {
	m := &modelReader{run: r, heldOnly: heldOnly, permits: make(chan struct{}, 1<<16), at: map[string]Position{}}
	filter := Filter{Accounts: accounts, StartWithBalance: true}
	if heldOnly {
		filter.Types = []string{TypeEscrowHeld}
	}
	r.readers = append(r.readers, m)
	r.loops.Go(func() {
		for item, err := range r.client.Events(ctx, filter) {
			if err != nil {
				return
			}
			m.checkItem(&item)
			select {
			case <-m.permits:
			case <-ctx.Done():
			}
		}
	})
}

// fail notes the first failure. rapid's T must fail in its own goroutine.
func (r *hostileRun) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		r.failure = fmt.Sprintf(format, args...)
	}
}

// check fails the test after everything has come to rest.
func (r *hostileRun) check() {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != "" {
		r.logFirst(r.failure)
		r.Fatal(r.failure)
	}
}

// checkItem checks that an item follows from the one before it.
func (m *modelReader) checkItem(item *Item) {
	g := m.run.gateway
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.ledger.events[item.Chain]
	if e == nil || e.account != item.Account || e.seq != item.Seq {
		m.run.fail("the item %+v is not of the ledger", item)
		return
	}
	last, isKnown := m.at[item.Account]
	m.at[item.Account] = Position{Seq: item.Seq, Chain: item.Chain}
	switch {
	case !isKnown:
		if item.Resync == nil || item.Resync.Reason != Started {
			m.run.fail("the first item is %+v", item)
		}
	case item.Resync != nil:
		if item.Resync.Reason == HistoryUnavailable && item.Seq < last.Seq {
			m.run.fail("a resync without a changed history goes back from %+v to %+v", last, item)
		}
		if *item.Resync.Balance != decodedBalance(e) {
			m.run.fail("the balance of the resync %+v is not the ledger's", item)
		}
	default:
		m.checkEvent(last, e)
	}
}

// checkEvent checks that no event that passes the filter was left out before this one.
func (m *modelReader) checkEvent(last Position, e *modelEvent) {
	ledger := m.run.gateway.ledger
	before := ledger.events[e.before]
	for m.heldOnly && !before.held && before.seq > last.Seq {
		before = ledger.events[before.before]
	}
	if before.chain != last.Chain && (!m.heldOnly || before.seq > last.Seq) {
		m.run.fail("event %d %s follows %+v", e.seq, e.chain, last)
	}
}

// decodedBalance returns the balance as a client decodes it.
func decodedBalance(e *modelEvent) Balance {
	b := *e.balance()
	b.UpdatedAt = b.UpdatedAt.UTC()
	return b
}

// readBalance checks all states of a balance.
func (r *hostileRun) readBalance(ctx context.Context) {
	for state := range r.balance.Changes(ctx) {
		if state.Status == BalanceLive || state.Status == BalanceStale {
			r.checkBalance(&state)
		}
	}
}

func (r *hostileRun) checkBalance(state *BalanceState) {
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	e := r.gateway.ledger.events[state.Chain]
	switch {
	case e == nil || e.account != accountA || e.seq != state.Seq:
		r.fail("the balance %+v is not of the ledger", state)
	case state.Available != e.after[0] || state.Escrow != e.after[1]:
		r.fail("the balance %+v is not that of event %+v", state, e)
	}
}

// step does one thing to the client.
func (r *hostileRun) step() {
	action := rapid.SampledFrom(hostileActions).Draw(r.T, "action")
	r.Logf("%s", action.name)
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock() // rapid panics in Draw while it shrinks a failure
	action.do(r)
}

// heal ends all trouble. Then everything must be up to date.
func (r *hostileRun) heal() {
	g := r.gateway
	g.mu.Lock()
	g.faults = nil
	g.refuses = false
	g.noSnapshots = false
	g.noHistory = false
	for c := range g.conns {
		c.unpause()
	}
	g.mu.Unlock()
	for _, m := range r.readers {
		close(m.permits)
	}

	// A silent connection is noticed within 40 s. A pause is at most 20 s.
	passTime(2 * time.Minute)
	g.mu.Lock()
	for _, account := range []string{accountA, accountB} {
		g.deliver(g.ledger.appendEvent(account, true)) // shows what was dropped last
	}
	g.mu.Unlock()
	passTime(2 * time.Minute)
	r.check()

	r.checkIsCurrent()
	r.check()
}

// passTime lets virtual time pass.
func passTime(d time.Duration) { <-time.After(d) }

// checkIsCurrent checks that the readers and the balance are at the head of the ledger.
func (r *hostileRun) checkIsCurrent() {
	ledger := r.gateway.ledger
	for i, m := range r.readers {
		if len(m.at) != 2-i {
			r.fail("reader %d has begun %v", i, m.at)
		}
		for account, at := range m.at {
			if head := ledger.head(account); at.Chain != head.chain {
				r.fail("reader %d is at %+v of %s, want %d %s", i, at, account, head.seq, head.chain)
			}
		}
	}
	got := r.balance.Get()
	want := ledger.head(accountA)
	if got.Status != BalanceLive || got.Chain != want.chain {
		r.fail("the balance is %+v, want it to be live at %d %s", got, want.seq, want.chain)
	}
}

func (r *hostileRun) end() {
	r.client.Close()
	r.cancel()
	r.loops.Wait()
}
