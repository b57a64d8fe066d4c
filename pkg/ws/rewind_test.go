package ws

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// goBack removes the newest n events of user:u1 from the ledger, commits m others, and publishes the
// marker and these events.
func (g *gateway) goBack(n, m int) {
	g.ledger.goBack("user:u1", n)
	for range m {
		g.ledger.commitEvent("user:u1")
	}
	g.hub.Deliver(g.ledger.repair("user:u1"), false)
}

// sendClaim subscribes to user:u1 after the seq, with the chain.
func (c *client) sendClaim(after int64, chain bus.Chain) {
	c.t.Helper()
	c.sendFrame(fmt.Sprintf(`{"op":"subscribe","sub":"s","accounts":["user:u1"],`+
		`"after":{"user:u1":%d},"chain":{"user:u1":"%s"}}`, after, chain))
}

// A client that was shown events that never happened is told, and gets those that replace them.
func TestMarkerTellsClient(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 5)
	c.expectEvents("s", "user:u1", 1, 5)
	g.goBack(3, 1)
	c.expectResyncFrame(3, protocol.HistoryChanged)
	g.deliverEvents("user:u1", 2)
	c.expectEvents("s", "user:u1", 4, 5)
	checkMetric(t, reg, "realtime_gateway_history_changes_total", "", 1)
	checkMetric(t, reg, "realtime_gateway_resyncs_total", "", 0)
}

// A client whose filter dropped all void events continues silently.
func TestMarkerIsSilentForFilteredEvents(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 2)
	c := g.login("user:u1")
	c.subscribeWith(`{"op":"subscribe","sub":"s","minAmount":50}`)
	g.deliverEvents("user:u1", 2) // 30 and 40 points
	g.goBack(2, 2)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 5, 5)
}

// A client that was shown only events before the common point continues silently.
func TestMarkerIsSilentForClientBehind(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 2)
	c := g.login("user:u1")
	c.subscribe()
	g.ledger.publishEvents("user:u1", 4) // the tail did not deliver them
	g.goBack(2, 3)
	c.expectEvents("s", "user:u1", 3, 7)
}

// A marker for an account that the ledger does not have any more takes the client back to seq 0.
func TestMarkerOfUnknownAccount(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 2)
	c.expectEvents("s", "user:u1", 1, 2)
	g.goBack(2, 0)
	c.expectResyncFrame(0, protocol.HistoryChanged)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 1, 1)
}

// Another event with a seq that is in memory makes the gateway ask the ledger.
func TestRepeatedSeqWithOtherChain(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 3)
	c.expectEvents("s", "user:u1", 1, 3)
	g.ledger.goBack("user:u1", 1)
	g.hub.Deliver([]bus.Delivery{g.ledger.commitEvent("user:u1")}, false) // without a marker
	c.expectResyncFrame(3, protocol.HistoryChanged)
}

// Entries of the void history that are delivered again do not disturb a client that follows the
// ledger.
func TestVoidEntriesAreReadAgain(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 4)
	g.goBack(2, 4)
	c := g.login("user:u1")
	c.subscribe()
	g.hub.ForgetMemory()
	g.hub.Deliver(g.ledger.lastPublished("user:u1", 100), false)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 7, 7)
}

// A client whose balance is from after the marker gets no event from before it, also if the gateway
// has not read the marker yet and does not know which event its oldest one follows.
func TestSubscribeBeforeMarkerIsRead(t *testing.T) {
	g := newGateway(t, Config{})
	void := g.ledger.publishEvents("user:u1", 6)
	g.hub.Deliver(void[1:], false)
	g.ledger.goBack("user:u1", 6)
	g.ledger.commitEvent("user:u1")
	unread := g.ledger.repair("user:u1")
	c := g.login("user:u1")
	c.subscribe()
	g.hub.Deliver(unread, false)
	next := g.ledger.publishEvents("user:u1", 1)
	g.hub.Deliver(next, false)
	f := c.expectFrame("event")
	if f["chain"] != next[0].Chain.String() {
		t.Errorf("first event: got %v, want the one with chain %s", f, next[0].Chain)
	}
}

// A client that resumes is told if its after and chain do not belong together.
func TestResumeWithChain(t *testing.T) {
	const otherChain = 1
	for name, isInMemory := range map[string]bool{
		"in memory":       true,
		"from the ledger": false,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{})
			batch := g.ledger.publishEvents("user:u1", 5)
			if isInMemory {
				g.hub.Deliver(batch, false)
			}
			t.Run("right", func(t *testing.T) {
				c := g.login("user:u1")
				c.sendClaim(3, batch[2].Chain)
				c.expectResumed(3)
				c.expectEvents("s", "user:u1", 4, 5)
			})
			t.Run("other", func(t *testing.T) {
				c := g.login("user:u1")
				c.sendClaim(3, otherChain)
				c.expectResync(5, protocol.HistoryChanged)
			})
			t.Run("newest, other", func(t *testing.T) {
				c := g.login("user:u1")
				c.sendClaim(5, otherChain)
				c.expectResync(5, protocol.HistoryChanged)
			})
			t.Run("before the first event", func(t *testing.T) {
				c := g.login("user:u1")
				c.sendClaim(0, 0)
				c.expectResumed(0)
				c.expectEvents("s", "user:u1", 1, 5)
			})
			t.Run("newer than the ledger", func(t *testing.T) {
				c := g.login("user:u1")
				c.sendResume(9)
				c.expectResync(5, protocol.HistoryChanged)
			})
		})
	}
}

// A gateway remembers accounts that went back, so that a client without a chain is told.
func TestResumeWithoutChainAfterRewind(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 5)
	g.goBack(3, 6)
	t.Run("after the common point", func(t *testing.T) {
		c := g.login("user:u1")
		c.sendResume(4)
		c.expectResync(8, protocol.HistoryChanged)
	})
	t.Run("at the common point", func(t *testing.T) {
		c := g.login("user:u1")
		c.sendResume(2)
		c.expectResumed(2)
		c.expectEvents("s", "user:u1", 3, 8)
	})
}

// A client of an account that went back has newer events than Redis, because another gateway was
// ahead or because Redis lost data. It is not shown an older balance than it has.
func TestResumeWithoutChainAfterRewindWhileRedisIsBehind(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 5)
	g.goBack(3, 6)
	g.ledger.setBackSnapshot("user:u1", 3)
	t.Run("core is down", func(t *testing.T) {
		g.ledger.stopCore()
		c := g.login("user:u1")
		c.sendResume(7)
		c.expectError(protocol.CodeSnapshotUnavailable)
		header := bearerHeader(mintTokenFor(t, "user:u1"))
		g.checkStreamRefusal(t, "after=user:u1%3D7", header, http.StatusServiceUnavailable)
	})
	t.Run("core is up", func(t *testing.T) {
		g.ledger.update(func(l *ledger) { l.coreDown = false })
		c := g.login("user:u1")
		c.sendResume(7)
		c.expectResync(8, protocol.HistoryChanged)
	})
}

// While the ledger does not answer, a client is not shown an older balance than it has.
func TestResumeWithNewerSeqWhileCoreIsDown(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 5)
	g.ledger.stopCore()
	c := g.login("user:u1")
	c.sendResume(9)
	c.expectError(protocol.CodeSnapshotUnavailable)
}

// After the streams changed, Recheck finds accounts whose history changed without a new event.
func TestRecheckFindsOtherHistory(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 3)
	c.expectEvents("s", "user:u1", 1, 3)
	g.ledger.goBack("user:u1", 2)
	g.hub.ForgetMemory()
	err := g.hub.Recheck(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	c.expectResyncFrame(1, protocol.HistoryChanged)
}

// After the streams changed, an event is not sent before the ledger has confirmed the history.
func TestEventAfterStreamsChanged(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 3)
	c.expectEvents("s", "user:u1", 1, 3)
	t.Run("same history", func(t *testing.T) {
		g.hub.ForgetMemory()
		g.deliverEvents("user:u1", 1)
		c.expectEvents("s", "user:u1", 4, 4)
	})
	t.Run("other history", func(t *testing.T) {
		g.ledger.goBack("user:u1", 2)
		g.hub.ForgetMemory()
		g.deliverEvents("user:u1", 2)
		c.expectResyncFrame(4, protocol.HistoryChanged)
	})
}
