package ws

import (
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A gap in the deliveries is filled from the history before a later event is sent.
func TestGapIsFilled(t *testing.T) {
	g := newGateway(t, Config{})
	a := g.login("user:u1")
	a.subscribe()
	b := g.login("user:u1")
	b.subscribe()
	g.deliverEvents("user:u1", 2)
	g.ledger.publishEvents("user:u1", 700) // not delivered
	g.deliverEvents("user:u1", 3)
	a.expectEvents("s", "user:u1", 1, 705)
	b.expectEvents("s", "user:u1", 1, 705)
	g.deliverEvents("user:u1", 1)
	a.expectEvents("s", "user:u1", 706, 706)
}

// Without history, a gap is closed by a resync.
func TestGapIsResynced(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.deliverEvents("user:u1", 2)
	c.expectEvents("s", "user:u1", 1, 2)
	g.ledger.stopCore()
	g.ledger.publishEvents("user:u1", 5)
	g.deliverEvents("user:u1", 1)
	checkField(t, c.expectFrame("resync"), "seq", 8.0)
	g.deliverEvents("user:u1", 1)
	c.expectEvents("s", "user:u1", 9, 9)
}

// If neither history nor state becomes available, the connection is closed.
func TestGapThatStaysClosesConnection(t *testing.T) {
	g := newGateway(t, Config{RetryFor: 100 * time.Millisecond})
	c := g.login("user:u1")
	c.subscribe()
	g.ledger.stopAll()
	g.ledger.publishEvents("user:u1", 5)
	g.deliverEvents("user:u1", 1)
	c.expectClose(protocol.CloseInternal)
}

// Recheck finds an account whose newest events were lost.
func TestRecheckFindsLostEvents(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribe()
	g.ledger.publishEvents("user:u1", 3)
	err := g.hub.Recheck(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	c.expectEvents("s", "user:u1", 1, 3)
}
