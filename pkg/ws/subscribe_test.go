package ws

import (
	"sync"
	"testing"
	"time"
)

// A subscription starts with a snapshot and continues with the events after it.
func TestSubscriptionStartsWithSnapshot(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 3)
	c := g.login("user:u1")
	c.sendFrame(`{"op":"subscribe","sub":"wallet","accounts":["user:u1"]}`)
	f := c.expectFrame("subscribed")
	checkField(t, f, "sub", "wallet")
	a := subscribedAccount(f, 0)
	checkField(t, a, "account", "user:u1")
	checkField(t, a, "seq", 3.0)
	checkField(t, a, "recovered", false)
	snapshot, _ := a["snapshot"].(map[string]any)
	checkField(t, snapshot, "availableBalance", 30.0)
	checkField(t, snapshot, "seq", 3.0)

	g.deliverEvents("user:u1", 40)
	c.expectEvents("wallet", "user:u1", 4, 43)
	c.expectPong()
}

// No event is sent after unsubscribe. The client can resume later under the same name.
func TestUnsubscribeAndResume(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 43)
	c := g.login("user:u1")
	c.subscribe()
	c.sendFrame(`{"op":"unsubscribe","sub":"s"}`)
	checkField(t, c.expectFrame("unsubscribed"), "sub", "s")
	g.deliverEvents("user:u1", 1)
	c.expectPong()

	c.sendResume(40)
	c.expectResumed(40)
	c.expectEvents("s", "user:u1", 41, 44)
}

// A subscription to ["*"] that ends while a batch is delivered gets no event after unsubscribed.
func TestUnsubscribeFromAllAccountsDuringBatch(t *testing.T) {
	g := newGateway(t, Config{QueueEvents: 5000, QueueBytes: 10 << 20})
	k := newSink(g.hub, &Identity{Subject: "feed", AllAccounts: true})
	defer k.session.endSession()
	for range 3 {
		k.handleRequest(&modelRequest{ClientFrame: newModelFrame("all", []string{"*"})})
		k.setSlow(true) // what is queued stays in the queue
		batch := g.ledger.publishEvents("user:u1", 2000)
		var delivered sync.WaitGroup
		delivered.Go(func() { g.hub.Deliver(batch, false) })
		waitUntil(t, "the first event is queued", func() bool {
			queued, _ := k.session.Queue.Waiting()
			return queued > 0
		})
		refused := k.session.handleUnsubscribe("all")
		if refused != nil {
			t.Fatal(refused)
		}
		delivered.Wait()
		k.setSlow(false)
		k.FlushQueue()
		frames := k.frames()
		last := frames[len(frames)-1]
		if last != `{"op":"unsubscribed","sub":"all"}` {
			t.Fatalf("last frame: got %s, want unsubscribed", last)
		}
	}
}

// A subscription to ["*"] receives the first delivery of each live event with the full payload.
func TestAllAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.loginWith(Identity{Subject: "feed", AllAccounts: true})
	a := c.subscribeWith(`{"op":"subscribe","sub":"all","accounts":["*"],"minAmount":20}`)
	checkField(t, a, "account", "*")
	checkField(t, a, "snapshot", nil)

	batch := g.ledger.publishEvents("user:u1", 2)
	batch = append(batch, g.ledger.publishEvents("model:m1", 3)...)
	g.hub.Deliver(batch, true)  // a refill is not live
	g.hub.Deliver(batch, false) // the second delivery of the same seq is dropped
	second := g.ledger.publishEvents("user:u1", 1)
	second[0].SecondParty = true // the first party's delivery has the full payload
	g.hub.Deliver(second, false)
	g.deliverEvents("model:m1", 1)

	f := c.expectFrame("event")
	checkField(t, f, "account", "model:m1")
	checkField(t, f, "seq", 4.0)
	payload, _ := f["event"].(map[string]any)
	checkField(t, payload, "full", true)
}

// A subscription to ["*"] opens when the events from before the start have been delivered, because
// none of them reaches it.
func TestAllAccountsWaitForTheStart(t *testing.T) {
	const subscribe = `{"op":"subscribe","sub":"all","accounts":["*"]}`
	caughtUp := make(chan struct{})
	g := newGateway(t, Config{CaughtUp: caughtUp, FetchTimeout: time.Millisecond})
	c := g.loginWith(Identity{Subject: "feed", AllAccounts: true})
	c.sendFrame(subscribe)
	c.expectError("snapshot_unavailable")

	close(caughtUp)
	c.subscribeWith(subscribe)
	g.deliverEvents("user:u1", 1)
	checkField(t, c.expectFrame("event"), "seq", 1.0)
}

// A client that may see all accounts can also name an account. It then receives the account's view.
func TestNamedAccountOfAllAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.loginWith(Identity{Subject: "feed", AllAccounts: true})
	c.subscribeWith(`{"op":"subscribe","sub":"all","accounts":["*"]}`)
	c.subscribeWith(
		`{"op":"subscribe","sub":"one","accounts":["user:u9"],"features":["chips"]}`)
	g.deliverEvents("user:u9", 2)

	// Each subscription receives both events. The order of the subscriptions is not defined.
	counts := map[any]int{}
	for range 4 {
		f := c.expectFrame("event")
		counts[f["sub"]]++
		payload, _ := f["event"].(map[string]any)
		if f["sub"] == "one" {
			checkField(t, payload, "full", nil)
		} else {
			checkField(t, payload, "full", true)
		}
	}
	checkEqual(t, "events for one", counts["one"], 2)
	checkEqual(t, "events for all", counts["all"], 2)

	c.sendFrame(`{"op":"unsubscribe","sub":"all"}`)
	checkField(t, c.expectFrame("unsubscribed"), "sub", "all")
}

func TestFilters(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.subscribeWith(`{"op":"subscribe","sub":"a","types":["wallet.escrow_held"],` +
		`"minAmount":50,"reasons":["admin_credit"],"features":["chips","wheel"]}`)
	c.subscribeWith(`{"op":"subscribe","sub":"b","reasons":["chargeback"]}`)
	g.deliverEvents("user:u1", 10)
	for _, seq := range []int64{7, 10} { // every third event is a held escrow
		c.expectEvents("a", "user:u1", seq, seq)
	}
	c.expectPong()
}

// A replay passes the filter too.
func TestFilterOfReplay(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	g.deliverEvents("user:u1", 10)
	c.subscribeWith(`{"op":"subscribe","sub":"c","types":["wallet.escrow_held"],` +
		`"after":{"user:u1":2}}`)
	for _, seq := range []int64{4, 7, 10} {
		c.expectEvents("c", "user:u1", seq, seq)
	}
}
