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

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// checkedSocket is a WebSocket client. It checks the frames of both sides against the document.
type checkedSocket struct {
	*testing.T
	doc     *document
	conn    *websocket.Conn
	pending []map[string]any
	last    map[string]any // the newest frame that was read
}

// dialChecked connects. An empty token connects without one.
func (w *world) dialChecked(doc *document, token string) *checkedSocket {
	w.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, w.socketURL(), &websocket.DialOptions{
		HTTPHeader:   header,
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		w.Fatalf("connect: %v (%v)", err, resp)
	}
	w.Cleanup(func() { _ = conn.CloseNow() })
	return &checkedSocket{T: w.T, doc: doc, conn: conn}
}

// sendValid sends a frame that the document must allow.
func (s *checkedSocket) sendValid(frame string) {
	s.Helper()
	err := s.doc.checkFrame(webSocketChannel, parseJSON(s.T, []byte(frame)))
	if err != nil {
		s.Errorf("%s: %v", frame, err)
	}
	s.send(frame)
}

// sendInvalid sends a frame that the document must not allow.
func (s *checkedSocket) sendInvalid(frame string) {
	s.Helper()
	err := s.doc.checkFrame(webSocketChannel, parseJSON(s.T, []byte(frame)))
	if err == nil {
		s.Errorf("%s: got no error, want one", frame)
	}
	s.send(frame)
}

func (s *checkedSocket) send(frame string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, []byte(frame))
	if err != nil {
		s.Fatalf("send %s: %v", frame, err)
	}
}

// readFrame returns the next frame.
func (s *checkedSocket) readFrame() map[string]any {
	s.Helper()
	for len(s.pending) == 0 {
		s.readMessage()
	}
	s.last = s.pending[0]
	s.pending = s.pending[1:]
	return s.last
}

func (s *checkedSocket) readMessage() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	_, message, err := s.conn.Read(ctx)
	if err != nil {
		s.Fatalf("no frame after %v: %v", s.last, err)
	}
	for line := range strings.SplitSeq(string(message), "\n") {
		v := parseJSON(s.T, []byte(line))
		err := s.doc.checkFrame(webSocketChannel, v)
		if err != nil {
			s.Errorf("%s: %v", line, err)
		}
		frame, _ := v.(map[string]any)
		s.pending = append(s.pending, frame)
	}
}

// expectFrames reads frames with these ops, in that order, and returns the last one.
func (s *checkedSocket) expectFrames(ops ...string) (last map[string]any) {
	s.Helper()
	for _, op := range ops {
		last = s.readFrame()
		if last["op"] != op {
			s.Fatalf("frame: got %v, want %s", last, op)
		}
	}
	return last
}

func (s *checkedSocket) expectEvents(n int) {
	s.Helper()
	for range n {
		s.expectFrames("event")
	}
}

func (s *checkedSocket) expectError(code string) {
	s.Helper()
	frame := s.expectFrames("error")
	if frame["code"] != code {
		s.Fatalf("code: got %v, want %s", frame, code)
	}
}

func (w *world) tokenFor(ttl time.Duration, scope string, accounts ...string) string {
	w.Helper()
	return w.signRequest(auth.Request{
		Subject:  "app",
		Accounts: accounts,
		Scopes:   strings.Fields(scope),
		TTL:      ttl,
	})
}

// runOperation commits an operation that has all optional fields.
func (w *world) runOperation(op wallet.Op) wallet.Receipt {
	w.Helper()
	op.IdempotencyKey = uuid.NewString()
	op.CorrelationID = "order-1"
	op.Metadata = json.RawMessage(`{"menu":{"chips":[1,2.5,null]}}`)
	receipt, err := w.ledger.Do(w.Context(), op)
	if err != nil {
		w.Fatal(err)
	}
	return receipt
}

// holdPoints holds 100 points of user:u1.
func (w *world) holdPoints() uuid.UUID {
	w.Helper()
	return w.runOperation(wallet.Op{
		Operation:   wallet.OpHold,
		Account:     "user:u1",
		Amount:      100,
		Reason:      "chip_menu_purchase",
		QueueItemID: "q1",
		FeatureType: "chip_menu",
	}).EscrowID
}

// runEveryOperation gives user:u1 18 events and model:m1 4. Two of them are the same events.
func (w *world) runEveryOperation() {
	w.Helper()
	w.runOperation(wallet.Op{
		Operation:    wallet.OpPartialSettle,
		EscrowID:     w.holdPoints(),
		Model:        "model:m1",
		RefundAmount: 40,
		SettleAmount: 60,
		Reason:       "partial_performance",
		QueueItemID:  "q1",
	})
	w.runOperation(wallet.Op{
		Operation:   wallet.OpSettle,
		EscrowID:    w.holdPoints(),
		Model:       "model:m1",
		Amount:      100,
		Reason:      "performance_completed",
		QueueItemID: "q1",
	})
	w.runOperation(wallet.Op{
		Operation:   wallet.OpRefund,
		EscrowID:    w.holdPoints(),
		Amount:      100,
		Reason:      "performance_abandoned",
		QueueItemID: "q1",
	})
	w.runOperation(wallet.Op{
		Operation: wallet.OpDebit,
		Account:   "user:u1",
		Amount:    10,
		Reason:    "admin_debit",
	})
}

// Every frame on the wire is as docs/asyncapi.json describes it, and every part of the description
// occurs on the wire.
func TestFramesAreAsDocumented(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "g1"})
	doc := openDocument(t)
	w.creditPoints("user:u1", 1000, "k1")
	w.awaitBalance("user:u1", w.signToken("user:u1", ""), "redis")

	w.checkSubscriptions(doc)
	w.checkServerSentEvents(doc)
	w.checkTooManySubscriptions(doc)
	w.core.Close()
	w.checkExpiringTokens(doc)
	w.checkDrainWithoutHistory(doc)

	for _, pointer := range doc.unusedParts() {
		t.Errorf("%s: documented, but not seen", pointer)
	}
}

// checkSubscriptions lets one client subscribe to its own accounts and one to all.
func (w *world) checkSubscriptions(doc *document) {
	w.Helper()
	own := w.dialChecked(doc, w.tokenFor(time.Hour, "", "user:u1", "model:m1"))
	own.expectFrames("welcome")
	own.sendValid(`{"op":"subscribe","sub":"wallet","accounts":["user:u1","model:m1"],"snapshot":true}`)
	chain := firstChain(own.expectFrames("subscribed"))
	all := w.dialChecked(doc, "")
	all.sendValid(`{"op":"auth","token":"` + w.tokenFor(time.Hour, auth.ScopeEvents) + `"}`)
	all.expectFrames("welcome")
	all.sendValid(`{"op":"subscribe","sub":"all","accounts":["*"]}`)
	all.expectFrames("subscribed")

	w.runEveryOperation()
	own.expectEvents(18 + 4)
	all.expectEvents(18 + 2)

	own.sendValid(`{"op":"subscribe","sub":"holds","accounts":["user:u1"],"types":["wallet.escrow_held"],` +
		`"reasons":["chip_menu_purchase"],"features":["chip_menu"],"minAmount":100,"after":{"user:u1":1},` +
		`"chain":{"user:u1":"` + chain + `"},"snapshot":false}`)
	own.expectFrames("subscribed")
	own.expectEvents(3)
	own.sendValid(`{"op":"unsubscribe","sub":"holds"}`)
	own.expectFrames("unsubscribed")
	own.sendValid(`{"op":"subscribe","sub":"other","accounts":["user:u1"],"after":{"user:u1":1},` +
		`"chain":{"user:u1":"ffffffffffffffff"}}`)
	own.expectFrames("subscribed", "resync")
	own.sendValid(`{"op":"unsubscribe","sub":"other"}`)
	own.expectFrames("unsubscribed")
	own.sendValid(`{"op":"ping"}`)
	own.expectFrames("pong")
	own.checkRefusals()
	own.sendValid(`{"op":"auth","token":"` + w.tokenFor(time.Hour, "", "model:m1") + `"}`)
	own.expectFrames("welcome", "error", "unsubscribed")
}

// firstChain returns the chain of the first account in a subscribed frame.
func firstChain(subscribed map[string]any) string {
	accounts, _ := subscribed["accounts"].([]any)
	first, _ := accounts[0].(map[string]any)
	chain, _ := first["chain"].(string)
	return chain
}

// checkRefusals sends frames that the gateway refuses. The client has the subscription "wallet".
func (s *checkedSocket) checkRefusals() {
	s.Helper()
	s.sendValid(`{"op":"subscribe","sub":"wallet"}`)
	s.expectError("duplicate_subscription")
	s.sendValid(`{"op":"unsubscribe","sub":"nothing"}`)
	s.expectError("unknown_subscription")
	s.sendValid(`{"op":"subscribe","sub":"others","accounts":["user:u2"]}`)
	s.expectError("forbidden")
	for _, frame := range []string{
		`{"op":"nonsense"}`,
		`{"op":"subscribe"}`,
		`{"op":"subscribe","sub":""}`,
		`{"op":"subscribe","sub":"x","account":["user:u1"]}`,
		`{"op":"subscribe","sub":"x","accounts":["u1"]}`,
		`{"op":"subscribe","sub":"x","accounts":["*","user:u1"]}`,
		`{"op":"subscribe","sub":"x","types":[]}`,
		`{"op":"subscribe","sub":"x","minAmount":0}`,
		`{"op":"subscribe","sub":"x","after":{"user:u1":-1}}`,
		`{"op":"subscribe","sub":"x","after":{"user:u1":1},"chain":{"user:u1":"9F3AB2C1D4E5F607"}}`,
		`{"op":"unsubscribe"}`,
	} {
		s.sendInvalid(frame)
		s.expectError("bad_request")
	}
}

func (w *world) checkTooManySubscriptions(doc *document) {
	w.Helper()
	s := w.dialChecked(doc, w.tokenFor(time.Hour, "", "user:u1"))
	s.expectFrames("welcome")
	for i := range 32 {
		s.sendValid(fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`, i))
		s.expectFrames("subscribed")
	}
	s.sendValid(`{"op":"subscribe","sub":"s32"}`)
	s.expectError("too_many_subscriptions")
}

// checkExpiringTokens connects with tokens that expire soon. The core is unavailable.
func (w *world) checkExpiringTokens(doc *document) {
	w.Helper()
	s := w.dialChecked(doc, w.tokenFor(6*time.Second, "", "user:nobody"))
	s.expectFrames("welcome", "token_expiring")
	s.sendValid(`{"op":"subscribe","sub":"wallet"}`)
	s.expectError("snapshot_unavailable")
	stream := w.openStream(doc, w.tokenFor(6*time.Second, "", "user:u1"), nil)
	stream.expectFrames("welcome", "subscribed", "token_expiring")
}

// checkDrainWithoutHistory connects to a gateway that has only the balances, and drains it.
func (w *world) checkDrainWithoutHistory(doc *document) {
	w.Helper()
	w.stop()
	for p := range w.keys.Partitions {
		err := w.rdb.XTrimMaxLen(w.Context(), w.keys.Stream(p), 0).Err()
		if err != nil {
			w.Fatal(err)
		}
	}
	w.startGateway(gateway.Config{Name: "g2"})
	w.awaitReady()
	s := w.dialChecked(doc, w.tokenFor(time.Hour, "", "user:u1", "model:m1"))
	s.expectFrames("welcome")
	s.sendValid(`{"op":"subscribe","sub":"wallet","after":{"user:u1":1,"model:m1":1}}`)
	s.expectFrames("subscribed", "resync", "resync")
	stream := w.openStream(doc, w.tokenFor(time.Hour, "", "user:u1"), map[string]any{"after": "user:u1=1"})
	stream.expectFrames("welcome", "subscribed", "resync")

	wait := w.stopInBackground()
	s.expectFrames("reconnect")
	stream.expectFrames("reconnect", "closed")
	_, _, err := s.conn.Read(context.Background())
	if got := websocket.CloseStatus(err); got != websocket.StatusServiceRestart {
		w.Errorf("close code: got %v (%v), want 1012", got, err)
	}
	wait()
}

func TestDocumentIsServed(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	r := w.get(w.url+"/asyncapi.json", "")
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "asyncapi", "3.0.0")
}
