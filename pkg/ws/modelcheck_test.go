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
	Chain    bus.Chain
	Reason   string
	Snapshot *bus.Balance
	Accounts []protocol.SubscribedAccount
	Event    struct{ EventID string }
}

// A point is a point in the history of an account: a seq and the chain at that seq.
type point struct {
	seq   int64
	chain bus.Chain
}

// A claim is what a client says about the point that it has reached.
type claim struct {
	point

	hasChain bool
	shown    point // the event with the seq that the client was shown, if known
}

// A modelRequest is a subscribe frame, and the events that its client was shown, by account. The
// frame may name less.
type modelRequest struct {
	*protocol.ClientFrame

	shown map[string]point
	order int64 // when it was sent
}

// A watch is the progress of one account of an open subscription.
type watch struct {
	shown point // the newest event that was received or is included in the snapshot
	// claim is what the client named when it subscribed, until it was told a resync or an event.
	claim *claim
}

// watches are the open subscriptions of a client, by subscription and account.
type watches map[string]map[string]*watch

// A frameChecker checks the frames of one client against the guarantee of the package: after
// subscribed, the client receives the events with a higher seq that pass the filter, each event
// once and in order, or a resync. It is told that the history changed exactly if it was shown an
// event that never happened.
type frameChecker struct {
	ledger   *ledger
	filters  map[string]request.Filter
	requests map[string]*modelRequest
	open     watches
}

// checkFrames checks the frames of one client. It returns the open subscriptions.
func (k *sink) checkFrames(l *ledger, filters map[string]request.Filter) (watches, error) {
	frames := k.frames()
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &frameChecker{
		ledger:   l,
		filters:  filters,
		requests: k.requests,
		open:     watches{},
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

// allows reports whether the event passes the filter of the subscription.
func allows(filters map[string]request.Filter, sub string, d bus.Delivery) bool {
	f := filters[filterName(sub)]
	return f.AllowsEvent(recent.NewEvent(&d, nil))
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
			return c.checkResync(f, w)
		}
		return c.checkEvent(f, w, raw)
	case "error", "pong", "reconnect":
		return nil
	}
	return fmt.Errorf("got %s, want a known op", raw)
}

// claimOf returns what the client named for the account when it subscribed, or nil.
func (c *frameChecker) claimOf(sub, account string) *claim {
	r := c.requests[sub]
	after, resumes := r.After[account]
	if !resumes {
		return nil
	}
	chain, hasChain := r.Chain[account]
	return &claim{
		point:    point{seq: after, chain: chain},
		hasChain: hasChain,
		shown:    r.shown[account],
	}
}

func (c *frameChecker) checkSubscribed(f *serverFrame) error {
	if c.open[f.Sub] != nil {
		return fmt.Errorf("got subscribed to %s, which is already open", f.Sub)
	}
	c.open[f.Sub] = map[string]*watch{}
	for _, a := range f.Accounts {
		at := point{seq: a.Seq, chain: a.Chain}
		if a.Snapshot != nil && (point{seq: a.Snapshot.Seq, chain: a.Snapshot.Chain}) != at {
			return fmt.Errorf("snapshot: got %+v, want it at %+v", a.Snapshot, at)
		}
		w := &watch{shown: at}
		c.open[f.Sub][a.Account] = w
		claimed := c.claimOf(f.Sub, a.Account)
		switch {
		case claimed == nil:
			continue
		case !a.Recovered:
			w.claim = claimed // a resync must follow
		case claimed.seq != at.seq || (claimed.hasChain && claimed.chain != at.chain):
			return fmt.Errorf("recovered: got %+v, want %+v", at, *claimed)
		}
	}
	return nil
}

// isTrue reports whether the ledger always had the point.
func (c *frameChecker) isTrue(p point) bool {
	if p.seq == 0 {
		return p.chain == 0
	}
	d, exists := c.ledger.byChain[p.chain]
	return exists && d.Seq == p.seq && !c.ledger.void[p.chain]
}

func (c *frameChecker) checkResync(f *serverFrame, w *watch) error {
	isChanged := f.Reason == protocol.HistoryChanged
	before := w.shown
	isExact := true
	if w.claim != nil {
		before = w.claim.point
		isExact = w.claim.hasChain
		shown := w.claim.shown
		if shown.seq > f.Seq && c.isTrue(shown) {
			return fmt.Errorf("seq of the resync: got %d, want at least %d", f.Seq, shown.seq)
		}
		w.claim = nil
	}
	if isChanged && isExact && c.isTrue(before) {
		return fmt.Errorf("got %s after %+v, which always happened", f.Reason, before)
	}
	if !isChanged && f.Seq < before.seq {
		return fmt.Errorf("seq of the resync: got %d, want at least %d", f.Seq, before.seq)
	}
	if f.Snapshot == nil {
		return fmt.Errorf("got a resync without a snapshot")
	}
	w.shown = point{seq: f.Seq, chain: f.Chain}
	if (point{seq: f.Snapshot.Seq, chain: f.Snapshot.Chain}) != w.shown {
		return fmt.Errorf("snapshot: got %+v, want it at %+v", f.Snapshot, w.shown)
	}
	return nil
}

func (c *frameChecker) checkEvent(f *serverFrame, w *watch, raw string) error {
	if w.claim != nil {
		return fmt.Errorf("got event %d, want a resync before it", f.Seq)
	}
	if f.Seq <= w.shown.seq {
		return fmt.Errorf("seq of %s: got %d again or late, want more than %d",
			f.Account, f.Seq, w.shown.seq)
	}
	d := c.ledger.byChain[f.Chain]
	if d.Account != f.Account || d.Seq != f.Seq {
		return fmt.Errorf("chain of event %d: got %s, want that of the event", f.Seq, f.Chain)
	}
	if !allows(c.filters, f.Sub, d) {
		return fmt.Errorf("got event %d, which does not pass the filter of %s", f.Seq, f.Sub)
	}
	if f.Event.EventID != d.ID {
		return fmt.Errorf("event id: got %s, want %s", f.Event.EventID, d.ID)
	}
	if strings.Contains(raw, "full") {
		return fmt.Errorf("got the full payload %s, want the account's view", raw)
	}
	err := c.checkMissing(f.Sub, w, point{seq: f.Seq - 1, chain: c.ledger.parents[f.Chain]})
	// A gateway whose memory has forgotten the account does not know which event this one follows. If
	// it has not read a marker yet, it sends void events after a balance from after the marker. The
	// marker then takes the client back, which checkComplete shows.
	isUndecidable := c.ledger.memoryForgets && c.ledger.void[f.Chain]
	if err != nil && !isUndecidable {
		return err
	}
	w.shown = point{seq: f.Seq, chain: f.Chain}
	return nil
}

// checkMissing checks that no event after the watch's up to the point passes the filter, and that
// the point continues the history that the client was shown.
func (c *frameChecker) checkMissing(sub string, w *watch, upTo point) error {
	for upTo.seq > w.shown.seq {
		d := c.ledger.byChain[upTo.chain]
		if allows(c.filters, sub, d) {
			return fmt.Errorf("%s %s: got events up to %d, want event %s",
				sub, d.Account, w.shown.seq, d.ID)
		}
		upTo = point{seq: upTo.seq - 1, chain: c.ledger.parents[upTo.chain]}
	}
	if upTo != w.shown {
		return fmt.Errorf("%s: got a history with %+v, want it to continue %+v", sub, upTo, w.shown)
	}
	return nil
}

// checkComplete checks that the open subscriptions have received all events of the present history
// up to the seq that upTo returns.
func (c *frameChecker) checkComplete(upTo func(sub, account string) int64) error {
	for sub, accounts := range c.open {
		for account, w := range accounts {
			all := c.ledger.events[account]
			seq := min(max(upTo(sub, account), w.shown.seq), int64(len(all)))
			end := point{seq: seq}
			if seq > 0 {
				end.chain = all[seq-1].Chain
			}
			if w.shown.seq > seq {
				return fmt.Errorf("%s %s: got events up to %d, want at most %d",
					sub, account, w.shown.seq, seq)
			}
			err := c.checkMissing(sub, w, end)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
