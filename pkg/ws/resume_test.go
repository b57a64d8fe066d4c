package ws

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A client that resumes within the memory is served without a request to the core.
func TestResumeFromMemory(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 500)
	g.ledger.stopAll()
	for _, after := range []int64{0, 1, 250, 499, 500} {
		t.Run(fmt.Sprintf("after %d", after), func(t *testing.T) {
			c := g.login("user:u1")
			c.t = t
			c.sendResume(after)
			c.expectResumed(after)
			c.expectEvents("s", "user:u1", after+1, 500)
			_ = c.ws.CloseNow()
		})
	}
}

// While Config.Current is false, the memory may lack events. The client is served from the history.
func TestResumeWhileNotCurrent(t *testing.T) {
	var notCurrent atomic.Bool
	g := newGateway(t, Config{Current: func(string) bool { return !notCurrent.Load() }})
	g.deliverEvents("user:u1", 10)
	notCurrent.Store(true)
	g.ledger.update(func(l *ledger) { l.snapshotsDown = true })
	var missed []bus.Delivery
	for range 5 {
		missed = append(missed, g.ledger.commitEvent("user:u1"))
	}

	c := g.login("user:u1")
	for _, after := range []int64{8, 10, 14, 15} {
		c.sendResume(after)
		c.expectResumed(after)
		c.expectEvents("s", "user:u1", after+1, 15)
		c.unsubscribe()
	}
	c.sendResume(9)
	c.expectResumed(9)
	c.expectEvents("s", "user:u1", 10, 15)

	// The missed events are delivered later and must not be sent again.
	notCurrent.Store(false)
	g.hub.Deliver(missed, false)
	g.deliverEvents("user:u1", 2)
	c.expectEvents("s", "user:u1", 16, 17)
}

// A gateway that has restarted reads the streams again. A client can resume from these events, and
// from older events in the history.
func TestResumeAfterRefill(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.publishEvents("user:u1", 10)
	g.hub.Deliver(g.ledger.publishEvents("user:u1", 5), true)
	c := g.login("user:u1")
	c.sendResume(12)
	c.expectResumed(12)
	c.expectEvents("s", "user:u1", 13, 15)
	c.unsubscribe()

	c.sendResume(3) // older than the memory
	c.expectResumed(3)
	c.expectEvents("s", "user:u1", 4, 15)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 16, 16)
}

func TestResumeFromHistory(t *testing.T) {
	g := newGateway(t, Config{MaxReplay: 5000})
	g.ledger.publishEvents("user:u1", 3000) // not delivered to this gateway
	c := g.login("user:u1")
	c.sendResume(0)
	c.expectResumed(0)
	c.expectEvents("s", "user:u1", 1, 3000)
	g.deliverEvents("user:u1", 2)
	c.expectEvents("s", "user:u1", 3001, 3002)
}

// A client that missed nothing is served from the snapshot, without a request to the core.
func TestResumeWhenUpToDate(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.publishEvents("user:u1", 7)
	g.ledger.stopCore()
	c := g.login("user:u1")
	c.sendResume(7)
	c.expectResumed(7)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 8, 8)
}

// Another gateway was ahead: the client has an event that was not delivered here yet.
func TestResumeAheadOfTail(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 4)
	late := g.ledger.commitEvent("user:u1")
	c := g.login("user:u1")
	c.sendResume(5)
	c.expectResumed(5)
	g.hub.Deliver([]bus.Delivery{late}, false)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 6, 6) // event 5 is not sent again
}

// A client that cannot resume gets a resync.
func TestResync(t *testing.T) {
	cutHistory := func(l *ledger) {
		l.update(func(l *ledger) { l.historyAfter = 5 })
	}
	leaveRunning := func(*ledger) {}
	for name, tc := range map[string]struct {
		prepare func(l *ledger)
		after   int64
	}{
		"core is down":        {(*ledger).stopCore, 3},
		"history was cut":     {cutHistory, 3},
		"more than MaxReplay": {leaveRunning, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{MaxReplay: 10})
			g.ledger.publishEvents("user:u1", 12)
			c := g.login("user:u1")
			tc.prepare(g.ledger)
			c.sendResume(tc.after)
			c.expectResync(12, protocol.HistoryUnavailable)
			g.deliverEvents("user:u1", 2)
			c.expectEvents("s", "user:u1", 13, 14)
		})
	}
}

// A subscription is refused while neither snapshot nor history is available. It leaves nothing
// behind.
func TestSnapshotUnavailable(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 1)
	g.ledger.stopAll()
	c := g.login("user:u1", "user:u2")
	c.sendFrame(subscribeFrame)
	c.expectError(protocol.CodeSnapshotUnavailable)
	stats := g.hub.Stats()
	checkEqual(t, "subscriptions", stats.Subscriptions, 0)
	checkEqual(t, "accounts", stats.Accounts, 0)

	g.ledger.update(func(l *ledger) { l.coreDown = false })
	c.subscribe()
}

// An account that the ledger does not have starts at seq 0.
func TestSnapshotOfUnknownAccount(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u2")
	a := c.subscribe()
	checkField(t, a, "seq", 0.0)
	checkSnapshot(t, a)
	g.deliverEvents("user:u2", 1)
	c.expectEvents("s", "user:u2", 1, 1)
}

func TestSubscriptionWithoutSnapshot(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 2)
	c := g.login("user:u1")
	a := c.subscribeWith(`{"op":"subscribe","sub":"s","snapshot":false}`)
	checkField(t, a, "seq", 2.0)
	checkField(t, a, "snapshot", nil)
}
