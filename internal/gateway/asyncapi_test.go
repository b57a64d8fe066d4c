package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// talk is a WebSocket on which both sides' frames are checked against the document.
type talk struct {
	*testing.T
	doc     *document
	ws      *websocket.Conn
	pending []map[string]any
}

const patience = 20 * time.Second

// talk connects; raw may be empty.
func (w *world) talk(doc *document, raw string) *talk {
	w.Helper()
	header := http.Header{}
	if raw != "" {
		header.Set("Authorization", "Bearer "+raw)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, w.url+"/v1/ws", &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{"wallet.v1"}})
	if err != nil {
		w.Fatalf("dial: %v (%v)", err, resp)
	}
	w.Cleanup(func() { _ = ws.CloseNow() })
	return &talk{T: w.T, doc: doc, ws: ws}
}

// say sends a frame that the document allows.
func (c *talk) say(frame string) {
	c.Helper()
	if err := c.doc.check(webSocket, parseJSON(c.T, []byte(frame))); err != nil {
		c.Errorf("%s: %v", frame, err)
	}
	c.send(frame)
}

// missay sends a frame that the document does not allow.
func (c *talk) missay(frame string) {
	c.Helper()
	if c.doc.check(webSocket, parseJSON(c.T, []byte(frame))) == nil {
		c.Errorf("the document allows %s", frame)
	}
	c.send(frame)
}

func (c *talk) send(frame string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		c.Fatalf("send %s: %v", frame, err)
	}
}

// next takes the next frame, whatever it is.
func (c *talk) next() map[string]any {
	c.Helper()
	for len(c.pending) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, message, err := c.ws.Read(ctx)
		cancel()
		if err != nil {
			c.Fatal(err)
		}
		for line := range strings.SplitSeq(string(message), "\n") {
			v := parseJSON(c.T, []byte(line))
			if err := c.doc.check(webSocket, v); err != nil {
				c.Errorf("%s: %v", line, err)
			}
			frame, _ := v.(map[string]any)
			c.pending = append(c.pending, frame)
		}
	}
	f := c.pending[0]
	c.pending = c.pending[1:]
	return f
}

// hear takes frames of these ops, in that order.
func (c *talk) hear(ops ...string) (last map[string]any) {
	c.Helper()
	for _, op := range ops {
		if last = c.next(); last["op"] != op {
			c.Fatalf("got %v, want %s", last, op)
		}
	}
	return last
}

func (c *talk) hearEvents(n int) {
	c.Helper()
	for range n {
		c.hear("event")
	}
}

func (c *talk) hearError(code string) {
	c.Helper()
	if f := c.hear("error"); f["code"] != code {
		c.Fatalf("got %v, want %s", f, code)
	}
}

func (w *world) tokenFor(ttl time.Duration, scope string, accounts ...string) string {
	w.Helper()
	raw, err := auth.Sign(secret, auth.Request{Subject: "app", Accounts: accounts, Scopes: strings.Fields(scope), TTL: ttl})
	if err != nil {
		w.Fatal(err)
	}
	return raw
}

func (w *world) do(op wallet.Op) wallet.Receipt {
	w.Helper()
	op.IdempotencyKey = uuid.NewString()
	op.CorrelationID, op.Metadata = "order-1", json.RawMessage(`{"menu":{"chips":[1,2.5,null]}}`)
	r, err := w.ledger.Do(w.Context(), op)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) hold(amount int64) uuid.UUID {
	w.Helper()
	return w.do(wallet.Op{
		Operation: wallet.OpHold, Account: "user:u1", Amount: amount, Reason: "chip_menu_purchase", QueueItemID: "q1", FeatureType: "chip_menu",
	}).EscrowID
}

// Every frame that goes over the wire is as docs/asyncapi.json says, and there is nothing in it that never goes over the wire.
func TestFramesAreAsDocumented(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "g1"})
	doc := openDocument(t)
	w.credit("user:u1", 1000, "k1")
	w.until("published", func() reply { return w.get(w.url+"/v1/accounts/user:u1/balance", w.sign("user:u1", "")) },
		func(r reply) bool { return r.header.Get("X-Balance-Source") == "redis" })

	own := w.talk(doc, w.tokenFor(time.Hour, "", "user:u1", "model:m1"))
	own.hear("welcome")
	own.say(`{"op":"subscribe","sub":"wallet","snapshot":true}`)
	own.hear("subscribed")
	all := w.talk(doc, "")
	all.say(`{"op":"auth","token":"` + w.tokenFor(time.Hour, auth.ScopeEvents) + `"}`)
	all.hear("welcome")
	all.say(`{"op":"subscribe","sub":"all","accounts":["*"]}`)
	all.hear("subscribed")

	w.everyOperation()
	own.hearEvents(18 + 4)
	all.hearEvents(18 + 2)

	own.say(`{"op":"subscribe","sub":"holds","accounts":["user:u1"],"types":["wallet.escrow_held"],"reasons":["chip_menu_purchase"],
		"features":["chip_menu"],"minAmount":100,"after":{"user:u1":1},"snapshot":false}`)
	own.hear("subscribed")
	own.hearEvents(3)
	own.say(`{"op":"unsubscribe","sub":"holds"}`)
	own.hear("unsubscribed")
	own.say(`{"op":"ping"}`)
	own.hear("pong")
	w.refusals(own)
	own.say(`{"op":"auth","token":"` + w.tokenFor(time.Hour, "", "model:m1") + `"}`)
	own.hear("welcome", "error", "unsubscribed")

	w.serverSent(doc)

	many := w.talk(doc, w.tokenFor(time.Hour, "", "user:u1"))
	many.hear("welcome")
	for i := range 32 {
		many.say(fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`, i))
		many.hear("subscribed")
	}
	many.say(`{"op":"subscribe","sub":"s32"}`)
	many.hearError("too_many_subscriptions")

	w.core.Close()
	brief := w.talk(doc, w.tokenFor(20*time.Second, "", "user:nobody"))
	brief.hear("welcome", "token_expiring")
	brief.say(`{"op":"subscribe","sub":"wallet"}`)
	brief.hearError("snapshot_unavailable")
	w.listen(doc, w.tokenFor(20*time.Second, "", "user:u1"), nil).hear("welcome", "subscribed", "token_expiring")
	w.withoutHistory(doc)

	for _, pointer := range doc.unused() {
		t.Errorf("documented and never seen: %s", pointer)
	}
}

// everyOperation gives user:u1 18 events and model:m1 4, of which it shares 2.
func (w *world) everyOperation() {
	w.Helper()
	w.do(wallet.Op{
		Operation: wallet.OpPartialSettle, EscrowID: w.hold(100), Model: "model:m1", RefundAmount: 40, SettleAmount: 60,
		Reason: "partial_performance", QueueItemID: "q1",
	})
	w.do(wallet.Op{Operation: wallet.OpSettle, EscrowID: w.hold(100), Model: "model:m1", Amount: 100, Reason: "performance_completed", QueueItemID: "q1"})
	w.do(wallet.Op{Operation: wallet.OpRefund, EscrowID: w.hold(100), Amount: 100, Reason: "performance_abandoned", QueueItemID: "q1"})
	w.do(wallet.Op{Operation: wallet.OpDebit, Account: "user:u1", Amount: 10, Reason: "admin_debit"})
}

// refusals has a client that is subscribed as "wallet" do what it may not.
func (w *world) refusals(c *talk) {
	w.Helper()
	c.say(`{"op":"subscribe","sub":"wallet"}`)
	c.hearError("duplicate_subscription")
	c.say(`{"op":"unsubscribe","sub":"nothing"}`)
	c.hearError("unknown_subscription")
	c.say(`{"op":"subscribe","sub":"others","accounts":["user:u2"]}`)
	c.hearError("forbidden")
	for _, frame := range []string{
		`{"op":"nonsense"}`, `{"op":"subscribe"}`, `{"op":"subscribe","sub":""}`, `{"op":"subscribe","sub":"x","account":["user:u1"]}`,
		`{"op":"subscribe","sub":"x","accounts":["u1"]}`, `{"op":"subscribe","sub":"x","accounts":["*","user:u1"]}`,
		`{"op":"subscribe","sub":"x","types":[]}`, `{"op":"subscribe","sub":"x","minAmount":0}`, `{"op":"subscribe","sub":"x","after":{"user:u1":-1}}`,
		`{"op":"unsubscribe"}`,
	} {
		c.missay(frame)
		c.hearError("bad_request")
	}
}

// withoutHistory connects to a gateway that has only the balances, and sends the client away.
func (w *world) withoutHistory(doc *document) {
	w.Helper()
	w.stop()
	for p := range w.keys.Partitions {
		if err := w.rdb.XTrimMaxLen(w.Context(), w.keys.Stream(p), 0).Err(); err != nil {
			w.Fatal(err)
		}
	}
	w.gateway(gateway.Config{Name: "g2"})
	w.untilReady()
	c := w.talk(doc, w.tokenFor(time.Hour, "", "user:u1", "model:m1"))
	c.hear("welcome")
	c.say(`{"op":"subscribe","sub":"wallet","after":{"user:u1":1,"model:m1":1}}`)
	c.hear("subscribed", "resync", "resync")
	sse := w.listen(doc, w.tokenFor(time.Hour, "", "user:u1"), map[string]any{"after": "user:u1=1"})
	sse.hear("welcome", "subscribed", "resync")
	var g errgroup.Group
	g.Go(func() error { w.stop(); return nil })
	c.hear("reconnect")
	sse.hear("reconnect", "closed")
	_, _, err := c.ws.Read(context.Background())
	if websocket.CloseStatus(err) != websocket.StatusServiceRestart {
		w.Errorf("closed with %v", err)
	}
	_ = g.Wait() // stop reports by itself
}

func TestDocumentIsServed(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	if r := w.get(w.url+"/asyncapi.json", ""); r.status != http.StatusOK || r.json["asyncapi"] != "3.0.0" {
		t.Errorf("%d %v", r.status, r.json)
	}
}
