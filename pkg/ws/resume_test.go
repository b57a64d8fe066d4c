package ws

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

func resume(after int64) string {
	return fmt.Sprintf(`{"op":"subscribe","sub":"s","accounts":["user:u1"],"after":{"user:u1":%d}}`, after)
}

// expectResumed wants a subscription that goes on after that seq.
func (c *client) expectResumed(after int64) {
	c.t.Helper()
	a := subscribedTo(c.expect("subscribed"), 0)
	if a["seq"] != float64(after) || a["recovered"] != true || a["snapshot"] != nil {
		c.t.Fatalf("not resumed after %d: %v", after, a)
	}
}

// expectResync wants a subscription that begins at that seq, said twice.
func (c *client) expectResync(seq int64) {
	c.t.Helper()
	a := subscribedTo(c.expect("subscribed"), 0)
	if a["seq"] != float64(seq) || a["recovered"] != false {
		c.t.Fatalf("not begun at %d: %v", seq, a)
	}
	f := c.expect("resync")
	if f["seq"] != float64(seq) || f["reason"] != protocol.HistoryUnavailable || f["account"] != "user:u1" || f["sub"] != "s" || f["snapshot"] == nil {
		c.t.Fatalf("resync: %v", f)
	}
}

func TestResumeFromMemory(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliver("user:u1", 500)
	g.ledger.set(func(l *ledger) { l.coreAway, l.hashAway = true, true }) // nobody is asked
	for _, after := range []int64{0, 1, 250, 499, 500} {
		c := g.login("user:u1")
		c.send(resume(after))
		c.expectResumed(after)
		c.expectEvents("s", "user:u1", after+1, 500)
		_ = c.ws.CloseNow()
	}
}

// While the streams cannot be read, what is in memory may not be all: the core is asked.
func TestResumeWhileNothingArrives(t *testing.T) {
	var away atomic.Bool
	g := newGateway(t, Config{Current: func(string) bool { return !away.Load() }})
	g.deliver("user:u1", 10)
	away.Store(true)
	g.ledger.set(func(l *ledger) { l.hashAway = true })
	var missed []bus.Delivery
	for range 5 {
		missed = append(missed, g.ledger.commit("user:u1"))
	}
	c := g.login("user:u1")
	for _, after := range []int64{8, 10, 14, 15} {
		c.send(resume(after))
		c.expectResumed(after)
		c.expectEvents("s", "user:u1", after+1, 15)
		c.send(`{"op":"unsubscribe","sub":"s"}`)
		c.expect("unsubscribed")
	}
	c.send(resume(9))
	c.expectResumed(9)
	c.expectEvents("s", "user:u1", 10, 15)
	away.Store(false)
	g.hub.Deliver(missed, false) // at last; it was shown
	g.deliver("user:u1", 2)
	c.expectEvents("s", "user:u1", 16, 17)
}

// A restarted gateway has read the streams again and knows nothing else.
func TestResumeAfterRefill(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.publish("user:u1", 10)
	g.hub.Deliver(g.ledger.publish("user:u1", 5), true)
	c := g.login("user:u1")
	c.send(resume(12))
	c.expectResumed(12)
	c.expectEvents("s", "user:u1", 13, 15)
	c.send(`{"op":"unsubscribe","sub":"s"}`)
	c.expect("unsubscribed")
	c.send(resume(3)) // further back than the memory: the core
	c.expectResumed(3)
	c.expectEvents("s", "user:u1", 4, 15)
	g.deliver("user:u1", 1)
	c.expectEvents("s", "user:u1", 16, 16)
}

func TestResumeFromHistory(t *testing.T) {
	g := newGateway(t, Config{MaxReplay: 5000})
	g.ledger.publish("user:u1", 3000) // before this gateway was there
	c := g.login("user:u1")
	c.send(resume(0))
	c.expectResumed(0)
	c.expectEvents("s", "user:u1", 1, 3000)
	g.deliver("user:u1", 2)
	c.expectEvents("s", "user:u1", 3001, 3002)
}

// Nothing was missed: the snapshot says so, and the core is not asked.
func TestResumeUpToDate(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.publish("user:u1", 7)
	g.ledger.set(func(l *ledger) { l.coreAway = true })
	c := g.login("user:u1")
	c.send(resume(7))
	c.expectResumed(7)
	g.deliver("user:u1", 1)
	c.expectEvents("s", "user:u1", 8, 8)
}

// Another gateway was ahead: the client knows an event that neither this one's
// tail nor its snapshots have.
func TestResumeAheadOfTheTail(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliver("user:u1", 4)
	late := g.ledger.commit("user:u1")
	c := g.login("user:u1")
	c.send(resume(5))
	c.expectResumed(5)
	g.hub.Deliver([]busDelivery{late}, false)
	g.deliver("user:u1", 1)
	c.expectEvents("s", "user:u1", 6, 6) // and not 5 again
}

func TestResync(t *testing.T) {
	for name, prepare := range map[string]func(g *gateway) (after int64){
		"the core is away":        func(g *gateway) int64 { g.ledger.set(func(l *ledger) { l.coreAway = true }); return 3 },
		"history was cut":         func(g *gateway) int64 { g.ledger.set(func(l *ledger) { l.historyAt = 5 }); return 3 },
		"too far back":            func(*gateway) int64 { return 0 },
		"newer than the newest":   func(*gateway) int64 { return 99 },
		"newer, the core is away": func(g *gateway) int64 { g.ledger.set(func(l *ledger) { l.coreAway = true }); return 99 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{MaxReplay: 10})
			g.ledger.publish("user:u1", 12)
			c := g.login("user:u1")
			c.send(resume(prepare(g)))
			c.expectResync(12)
			g.deliver("user:u1", 2)
			c.expectEvents("s", "user:u1", 13, 14)
		})
	}
}

func TestSnapshotUnavailable(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliver("user:u1", 1)
	g.ledger.set(func(l *ledger) { l.hashAway, l.coreAway = true, true })
	c := g.login("user:u1", "user:u2")
	c.send(`{"op":"subscribe","sub":"s","accounts":["user:u1","user:u2"]}`)
	c.expectError(protocol.CodeSnapshotUnavailable)
	if st := g.hub.Stats(); st.Subscriptions != 0 || st.Accounts != 0 {
		t.Errorf("left behind: %+v", st)
	}
	g.ledger.set(func(l *ledger) { l.coreAway = false })
	c.send(`{"op":"subscribe","sub":"s","accounts":["user:u1","user:u2"]}`)
	f := c.expect("subscribed")
	if a := subscribedTo(f, 1); a["seq"] != 0.0 || a["snapshot"] == nil { // the ledger does not know it
		t.Error(a)
	}
	g.deliver("user:u2", 1)
	c.expectEvents("s", "user:u2", 1, 1)
}

func TestNoSnapshotWanted(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliver("user:u1", 2)
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"s","snapshot":false}`)
	if a := subscribedTo(c.expect("subscribed"), 0); a["seq"] != 2.0 || a["snapshot"] != nil {
		t.Error(a)
	}
}

// A hole in what the tail passes on is filled before anything else is shown.
func TestGapIsHealed(t *testing.T) {
	g := newGateway(t, Config{})
	a, b := g.login("user:u1"), g.login("user:u1")
	for _, c := range []*client{a, b} {
		c.send(`{"op":"subscribe","sub":"s"}`)
		c.expect("subscribed")
	}
	g.deliver("user:u1", 2)
	g.ledger.publish("user:u1", 700) // lost on the way
	g.deliver("user:u1", 3)
	a.expectEvents("s", "user:u1", 1, 705)
	b.expectEvents("s", "user:u1", 1, 705)
	g.deliver("user:u1", 1)
	a.expectEvents("s", "user:u1", 706, 706)
}

func TestGapIsResynced(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"s"}`)
	c.expect("subscribed")
	g.deliver("user:u1", 2)
	c.expectEvents("s", "user:u1", 1, 2)
	g.ledger.set(func(l *ledger) { l.coreAway = true })
	g.ledger.publish("user:u1", 5)
	g.deliver("user:u1", 1)
	if f := c.expect("resync"); f["seq"] != 8.0 {
		t.Fatal(f)
	}
	g.deliver("user:u1", 1)
	c.expectEvents("s", "user:u1", 9, 9)
}

// While neither history nor state can be had, the client is not told that all is
// well; when that lasts, it is sent away.
func TestGapThatStays(t *testing.T) {
	g := newGateway(t, Config{RetryFor: 100 * time.Millisecond})
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"s"}`)
	c.expect("subscribed")
	g.ledger.set(func(l *ledger) { l.coreAway, l.hashAway = true, true })
	g.ledger.publish("user:u1", 5)
	g.deliver("user:u1", 1)
	c.expectClose(protocol.CloseInternal)
}

// A quiet account whose last event was lost is found by Recheck.
func TestRecheck(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"s"}`)
	c.expect("subscribed")
	g.ledger.publish("user:u1", 3)
	if err := g.hub.Recheck(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.expectEvents("s", "user:u1", 1, 3)
}

func TestEveryAccount(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(bearer(mint(t, Identity{Subject: "feed", AllAccounts: true})))
	c.expect("welcome")
	c.send(`{"op":"subscribe","sub":"all","accounts":["*"],"minAmount":20}`)
	if a := subscribedTo(c.expect("subscribed"), 0); a["account"] != "*" || a["snapshot"] != nil {
		t.Fatal(a)
	}
	ds := append(g.ledger.publish("user:u1", 2), g.ledger.publish("model:m1", 3)...)
	ds[2].SecondParty, ds[3].SecondParty = true, true // second parties' deliveries
	g.hub.Deliver(ds, true)                           // read again: not live
	g.hub.Deliver(ds, false)                          // and known by now
	more := g.ledger.publish("user:u1", 1)
	more[0].SecondParty = true
	g.hub.Deliver(more, false)
	g.deliver("model:m1", 1)
	f := c.expect("event")
	payload, _ := f["event"].(map[string]any)
	if f["account"] != "model:m1" || f["seq"] != 4.0 || payload["full"] != true {
		t.Fatalf("%v", f)
	}
	// Any account may be named, too, and shows its own view.
	c.send(`{"op":"subscribe","sub":"one","accounts":["user:u9"],"features":["chips"]}`)
	c.expect("subscribed")
	g.deliver("user:u9", 2)
	for _, sub := range []string{"one", "one"} {
		f := c.expect("event")
		if f["sub"] == "all" { // the order of subscriptions is nobody's promise
			f = c.expect("event")
		}
		payload, _ := f["event"].(map[string]any)
		if f["sub"] != sub || payload["full"] != nil {
			t.Fatalf("%v", f)
		}
	}
	c.send(`{"op":"unsubscribe","sub":"all"}`)
	for f, _ := c.read(); f["op"] != "unsubscribed"; f, _ = c.read() {
		if f["op"] != "event" {
			t.Fatal(f)
		}
	}
}

func TestFilters(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"a","types":["wallet.escrow_held"],"minAmount":50,"reasons":["admin_credit"],"features":["chips","wheel"]}`)
	c.expect("subscribed")
	c.send(`{"op":"subscribe","sub":"b","reasons":["chargeback"]}`)
	c.expect("subscribed")
	g.deliver("user:u1", 10)
	for _, seq := range []int64{7, 10} { // every third is a hold
		c.expectEvents("a", "user:u1", seq, seq)
	}
	c.send(`{"op":"ping"}`)
	c.expect("pong")
	c.send(`{"op":"subscribe","sub":"c","types":["wallet.escrow_held"],"after":{"user:u1":2}}`)
	c.expect("subscribed")
	for _, seq := range []int64{4, 7, 10} {
		c.expectEvents("c", "user:u1", seq, seq)
	}
}
