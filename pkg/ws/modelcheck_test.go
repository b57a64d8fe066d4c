package ws

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A serverFrame has the members of a server frame that the model checks.
type serverFrame struct {
	Op       string
	Sub      string
	Code     string
	Account  string
	Seq      int64
	Snapshot *bus.Balance
	Accounts []protocol.SubscribedAccount
	Event    struct{ EventID string }
}

// A watch is the progress of one account of an open subscription.
type watch struct {
	shown int64 // seq of the newest event that was received or is included in the snapshot
}

// watches are the open subscriptions of a client, by subscription and account.
type watches map[string]map[string]*watch

// A frameChecker checks the frames of one client against the guarantee of the package: after
// subscribed, the client receives the events with a higher seq that pass the filter, each event
// once and in order, or a resync.
type frameChecker struct {
	ledger  *ledger
	filters map[string]request.Filter
	open    watches
}

// checkFrames checks the frames of one client. It returns the open subscriptions.
func checkFrames(frames []string, l *ledger, filters map[string]request.Filter) (watches, error) {
	c := &frameChecker{
		ledger:  l,
		filters: filters,
		open:    watches{},
	}
	for i, raw := range frames {
		var f serverFrame
		err := json.Unmarshal([]byte(raw), &f)
		if err != nil {
			return nil, fmt.Errorf("frame %q: %w", raw, err)
		}
		err = c.checkFrame(&f, raw)
		if err != nil {
			return nil, fmt.Errorf("frame %d: %w", i, err)
		}
	}
	return c.open, nil
}

// filterName returns the filter of a subscription. The name of a subscription is the name of its
// filter and a number.
func filterName(sub string) string {
	name, _, _ := strings.Cut(sub, "#")
	return name
}

// allowsSeq reports whether the account's event passes the filter of the subscription.
func allowsSeq(l *ledger, filters map[string]request.Filter, sub, account string, seq int64) bool {
	f := filters[filterName(sub)]
	return f.AllowsEvent(recent.NewEvent(&l.events[account][seq-1], nil))
}

func (c *frameChecker) checkFrame(f *serverFrame, raw string) error {
	switch f.Op {
	case "subscribed":
		return c.checkSubscribed(f)
	case "unsubscribed":
		delete(c.open, f.Sub)
		return nil
	case "event", "resync":
		w := c.open[f.Sub][f.Account]
		if w == nil {
			return fmt.Errorf("got %s of %s, which is not open", f.Op, f.Sub)
		}
		if f.Op == "resync" {
			return checkResync(f, w)
		}
		return c.checkEvent(f, w, raw)
	case "error", "pong", "reconnect":
		return nil
	}
	return fmt.Errorf("got %s, want a known op", raw)
}

func (c *frameChecker) checkSubscribed(f *serverFrame) error {
	if c.open[f.Sub] != nil {
		return fmt.Errorf("got subscribed to %s, which is already open", f.Sub)
	}
	c.open[f.Sub] = map[string]*watch{}
	for _, a := range f.Accounts {
		if a.Snapshot != nil && a.Snapshot.Seq != a.Seq {
			return fmt.Errorf("seq of the snapshot: got %d, want %d", a.Snapshot.Seq, a.Seq)
		}
		c.open[f.Sub][a.Account] = &watch{shown: a.Seq}
	}
	return nil
}

func checkResync(f *serverFrame, w *watch) error {
	if f.Seq < w.shown {
		return fmt.Errorf("seq of the resync: got %d, want at least %d", f.Seq, w.shown)
	}
	if f.Snapshot == nil {
		return fmt.Errorf("got a resync without a snapshot")
	}
	if f.Snapshot.Seq != f.Seq {
		return fmt.Errorf("seq of the snapshot: got %d, want %d", f.Snapshot.Seq, f.Seq)
	}
	w.shown = f.Seq
	return nil
}

func (c *frameChecker) checkEvent(f *serverFrame, w *watch, raw string) error {
	if f.Seq <= w.shown {
		return fmt.Errorf("seq of %s: got %d again or late, want more than %d", f.Account, f.Seq, w.shown)
	}
	if !allowsSeq(c.ledger, c.filters, f.Sub, f.Account, f.Seq) {
		return fmt.Errorf("got event %d, which does not pass the filter of %s", f.Seq, f.Sub)
	}
	for seq := w.shown + 1; seq < f.Seq; seq++ {
		if allowsSeq(c.ledger, c.filters, f.Sub, f.Account, seq) {
			return fmt.Errorf("%s %s: got event %d, want %d before it", f.Sub, f.Account, f.Seq, seq)
		}
	}
	want := fmt.Sprintf("%s-%d", f.Account, f.Seq)
	if f.Event.EventID != want {
		return fmt.Errorf("event id: got %s, want %s", f.Event.EventID, want)
	}
	if strings.Contains(raw, "full") {
		return fmt.Errorf("got the full payload %s, want the account's view", raw)
	}
	w.shown = f.Seq
	return nil
}

// checkComplete checks that the open subscriptions have received all events up to the given seq of
// each account.
func checkComplete(
	open watches, l *ledger, filters map[string]request.Filter, upTo map[string]int64,
) error {
	for sub, accounts := range open {
		for account, w := range accounts {
			for seq := w.shown + 1; seq <= upTo[account]; seq++ {
				if allowsSeq(l, filters, sub, account, seq) {
					return fmt.Errorf("%s %s: got events up to %d, want event %d",
						sub, account, w.shown, seq)
				}
			}
		}
	}
	return nil
}
