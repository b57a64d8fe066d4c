package ws

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A lateLedger is a ledger that reads one answer at once and sends it only when it is released.
type lateLedger struct {
	*ledger

	late     atomic.Pointer[string] // the name and account of the call with this answer; nil: none
	released chan struct{}
}

func (l *lateLedger) waitIfLate(call string) {
	late := l.late.Load()
	if late != nil && *late == call && l.late.CompareAndSwap(late, nil) {
		<-l.released
	}
}

func (l *lateLedger) Get(ctx context.Context, account string) (bus.Balance, bool, error) {
	b, ok, err := l.ledger.Get(ctx, account)
	l.waitIfLate("Get " + account)
	return b, ok, err
}

func (l *lateLedger) Events(
	ctx context.Context, account string, after int64, limit int,
) (events []bus.Delivery, last int64, err error) {
	events, last, err = l.ledger.Events(ctx, account, after, limit)
	l.waitIfLate("Events " + account)
	return events, last, err
}

// Events are lost after a feed has read its start or what it missed, and before it is live. Recheck
// makes it get them.
func TestRecheckWhileFeedReads(t *testing.T) {
	for name, test := range map[string]struct {
		late     string
		accounts []string
		after    map[string]int64
		gap      bool // the feed was live and met a gap
	}{
		"the balance":         {late: "Get user:u1", accounts: []string{"user:u1"}},
		"the next balance":    {late: "Get model:m1", accounts: []string{"user:u1", "model:m1"}},
		"the history":         {late: "Events user:u1", accounts: []string{"user:u1"}, after: map[string]int64{"user:u1": 2}},
		"the history, in gap": {late: "Events user:u1", accounts: []string{"user:u1"}, gap: true},
	} {
		for source, fromLedger := range map[string]bool{"Redis": false, "ledger": true} {
			t.Run(name+", "+source, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := &lateLedger{ledger: newLedger(), released: make(chan struct{})}
					n := startModelNode(Config{}, l)
					defer n.stop()
					l.publishEvents("model:m1", 1)
					l.publishEvents("user:u1", 5)
					k := newSink(n.hub, &Identity{Subject: "app", Accounts: test.accounts})
					defer k.session.endSession()

					l.late.Store(&test.late)
					r := &modelRequest{ClientFrame: newModelFrame("all", test.accounts)}
					r.After = test.after
					go k.handleRequest(r)
					synctest.Wait()
					if test.gap {
						n.hub.Deliver(l.publishEvents("user:u1", 2)[1:], false)
						synctest.Wait()
					}
					if l.late.Load() != nil {
						t.Fatalf("got no call %s", test.late)
					}
					l.publishEvents("user:u1", 2) // the tail does not deliver them
					err := n.hub.Recheck(t.Context(), fromLedger)
					if err != nil {
						t.Fatal(err)
					}
					close(l.released)
					synctest.Wait()
					k.checkReceived(t, l.ledger, "user:u1")
				})
			})
		}
	}
}

// An event that arrives while Recheck reads an older balance needs no answer of the ledger.
func TestRecheckOfBusyAccountWhileCoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lateLedger{ledger: newLedger(), released: make(chan struct{})}
		n := startModelNode(Config{}, l)
		defer n.stop()
		n.hub.Deliver(l.publishEvents("user:u1", 5), false)
		accounts := []string{"user:u1"}
		k := newSink(n.hub, &Identity{Subject: "app", Accounts: accounts})
		defer k.session.endSession()
		k.handleRequest(&modelRequest{ClientFrame: newModelFrame("all", accounts)})

		l.stopCore()
		late := "Get user:u1"
		l.late.Store(&late)
		rechecked := make(chan error, 1)
		go func() { rechecked <- n.hub.Recheck(context.Background(), false) }()
		synctest.Wait()
		n.hub.Deliver(l.publishEvents("user:u1", 1), false)
		close(l.released)
		err := <-rechecked
		if err != nil {
			t.Fatal(err)
		}
		n.hub.Deliver(l.publishEvents("user:u1", 1), false)
		synctest.Wait()
		k.checkReceived(t, l.ledger, "user:u1")
	})
}

// handleRequest subscribes.
func (k *sink) handleRequest(r *modelRequest) {
	k.mu.Lock()
	r.order = modelOrder.Add(1)
	k.requests[*r.Sub] = r
	k.mu.Unlock()
	refused := k.session.handleSubscribe(r.ClientFrame)
	if refused != nil {
		k.session.sendReply(protocol.ErrorFrame(r.Sub, refused))
	}
}

// checkReceived checks that the client has received all events of the account that it subscribed to.
func (k *sink) checkReceived(t *testing.T, l *ledger, account string) {
	t.Helper()
	open, err := k.checkFrames(l, modelFilters)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) == 0 {
		t.Fatal("got no open subscription")
	}
	checker := &frameChecker{ledger: l, filters: modelFilters, open: open}
	err = checker.checkComplete(func(_, other string) int64 {
		if other != account {
			return 0
		}
		return int64(len(l.events[account]))
	})
	if err != nil {
		t.Errorf("%v in frames %q", err, k.frames())
	}
}
