package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// node is one of several gateways.
type node struct {
	w          *world
	url, admin string
	stop       func()
}

// node starts another gateway and waits until it is ready.
func (w *world) node(name string) *node {
	w.Helper()
	w.gateway(gateway.Config{Name: name})
	w.untilReady()
	return &node{w, w.url, w.admin, w.stop}
}

// dial connects with a token and reads the welcome.
func (n *node) dial(raw string) (*websocket.Conn, string) {
	n.w.Helper()
	c, _, err := n.tryDial(raw)
	if err != nil {
		n.w.Fatal(err)
	}
	n.w.Cleanup(func() { _ = c.CloseNow() })
	_, message, err := c.Read(n.w.Context())
	var welcome struct{ Op, Connection string }
	if err != nil || json.Unmarshal(message, &welcome) != nil || welcome.Op != "welcome" {
		n.w.Fatalf("%s %v", message, err)
	}
	return c, welcome.Connection
}

func (n *node) tryDial(raw string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(n.w.Context(), strings.Replace(n.url, "http", "ws", 1)+"/v1/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + raw}},
	})
}

// post makes an admin call.
func (n *node) post(path, body string) reply {
	n.w.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, n.admin+path, bytes.NewReader([]byte(body)))
	if err != nil {
		n.w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.w.sign("ops", auth.ScopeAdmin))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		n.w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	r := reply{status: resp.StatusCode, header: resp.Header}
	if err := json.NewDecoder(resp.Body).Decode(&r.json); err != nil {
		n.w.Fatalf("%s: %v", path, err)
	}
	return r
}

// closed waits for the end and wants the code.
func closed(t *testing.T, c *websocket.Conn, want websocket.StatusCode) (reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, _, err := c.Read(ctx)
		if err == nil {
			continue
		}
		var end websocket.CloseError
		if websocket.CloseStatus(err) != want {
			t.Errorf("ended with %v, want %d", err, want)
		}
		errors.As(err, &end)
		return end.Reason
	}
}

// An order that one gateway takes is obeyed by all.
func TestDisconnectEverywhere(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "a"})
	w.untilReady()
	a := &node{w, w.url, w.admin, w.stop}
	b := w.node("b")
	mine, _ := b.dial(w.sign("user:u1", ""))
	one, id := b.dial(w.sign("user:u2", ""))
	other, otherID := b.dial(w.sign("user:u2", ""))

	r := w.get(b.admin+"/admin/connections?account=user:u2", w.sign("ops", auth.ScopeAdmin))
	if r.status != http.StatusOK || r.json["total"] != 2.0 || r.json["gateway"] != "b" {
		t.Errorf("connections: %d %v", r.status, r.json)
	}
	if r := a.post("/admin/disconnect", `{"account":"user:u1","reason":"fraud"}`); r.status != http.StatusOK || r.json["gateways"] != 2.0 || r.json["closed"] != 0.0 {
		t.Errorf("disconnect: %d %v", r.status, r.json)
	}
	if reason := closed(t, mine, 4410); reason != "disconnected: fraud" {
		t.Errorf("reason %q", reason)
	}
	a.post("/admin/disconnect", `{"connection":"`+id+`"}`)
	closed(t, one, 4410)
	again, _ := b.dial(w.sign("user:u1", "")) // disconnected is not revoked
	if r := b.post("/admin/disconnect", `{"connection":"`+otherID+`"}`); r.json["closed"] != 1.0 {
		t.Errorf("disconnect on its own gateway: %v", r.json)
	}
	closed(t, other, 4410)
	_ = again.CloseNow()
}

// Void tokens are refused by all gateways, by one that starts later, and by one
// that starts after Redis was emptied.
func TestRevokeEverywhere(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{Name: "a"})
	w.untilReady()
	a := &node{w, w.url, w.admin, w.stop}
	b := w.node("b")
	signed := func(id string) string {
		raw, err := auth.Sign(secret, auth.Request{Subject: "user:u1", TokenID: id, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	stolen, other := signed("stolen"), w.sign("user:u2", "")
	thief, _ := b.dial(stolen)
	fine, _ := b.dial(signed("fine"))
	victim, _ := b.dial(other)
	ahead, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "user:u2", "iat": time.Now().Add(20 * time.Second).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	issuedAhead, _ := b.dial(ahead)
	if r := a.post("/admin/revoke", `{"tokenId":"stolen","expiresAt":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`); r.status != http.StatusOK || r.json["gateways"] != 2.0 {
		t.Errorf("revoke: %d %v", r.status, r.json)
	}
	closed(t, thief, 4403)
	a.post("/admin/revoke", `{"account":"user:u2"}`)
	closed(t, victim, 4403)
	closed(t, issuedAhead, 4403) // whatever its iat
	refused := func(n *node) {
		t.Helper()
		for _, raw := range []string{stolen, other} {
			if _, resp, err := n.tryDial(raw); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
				t.Errorf("a void token: %v", err)
			}
			if r := w.get(n.url+"/v1/accounts/user:u1/balance", raw); r.status != http.StatusForbidden {
				t.Errorf("a balance for a void token: %d", r.status)
			}
		}
	}
	refused(a)
	refused(b)
	refused(w.node("later"))

	// What Redis forgot, the gateways have not. They write it down again.
	srv.Kill()
	srv.Start()
	w.until("written down again", func() reply {
		n, err := w.rdb.ZCard(context.Background(), w.keys.Revoked()).Result()
		return reply{status: int(n), json: map[string]any{"err": err}}
	}, func(r reply) bool { return r.status == 2 })
	refused(w.node("after"))
	if err := fine.Ping(fine.CloseRead(t.Context())); err != nil {
		t.Errorf("another token of the same account: %v", err)
	}
}

// A drain closes with 1012 and takes nobody in; other gateways go on.
func TestDrainCall(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "a"})
	w.untilReady()
	a := &node{w, w.url, w.admin, w.stop}
	b := w.node("b")
	ofA, _ := a.dial(w.sign("user:u1", ""))
	ofB, _ := b.dial(w.sign("user:u1", ""))
	if r := b.post("/admin/drain", `{"gateway":"a"}`); r.status != http.StatusOK || r.json["gateways"] != 2.0 {
		t.Errorf("drain of another: %d %v", r.status, r.json)
	}
	closed(t, ofA, websocket.StatusServiceRestart)
	w.until("draining", func() reply { return w.get(a.admin+"/readyz", "") },
		func(r reply) bool { return r.status == http.StatusServiceUnavailable && r.json["status"] == "draining" })
	if _, resp, err := a.tryDial(w.sign("user:u1", "")); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("taken in while draining: %v", err)
	}
	c, _ := b.dial(w.sign("user:u1", ""))
	_ = c.CloseNow()
	if r := b.post("/admin/drain", ""); r.status != http.StatusOK || r.json["gateway"] != "b" {
		t.Errorf("drain: %d %v", r.status, r.json)
	}
	closed(t, ofB, websocket.StatusServiceRestart)
}

func TestAdminCallsRefused(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.untilReady()
	n := &node{w, w.url, w.admin, w.stop}
	for path, bodies := range map[string][]string{
		"/admin/disconnect": {``, `{}`, `{"account":"user:u1","connection":"c"}`, `{"account":"nonsense"}`, `{"acount":"user:u1"}`, `[]`, `{"account":1}`, `{"account":"user:u1","reason":"a\nb"}`, `{"account":"user:u1"} x`},
		"/admin/revoke":     {``, `{"account":"*"}`, `{"tokenId":"a","account":"user:u1"}`, `{"tokenId":"a","expiresAt":"yesterday"}`, `{"tokenId":"a","expiresAt":"2020-01-01T00:00:00Z"}`, `{"tokenId":"a\u0000"}`},
		"/admin/drain":      {`{"gateway":1}`, `{"window":3}`, `x`},
	} {
		for _, body := range bodies {
			if r := n.post(path, body); r.status != http.StatusBadRequest || r.json["code"] != "invalid_request" {
				t.Errorf("%s %s: %d %v", path, body, r.status, r.json)
			}
		}
		if r := w.call(http.MethodPost, w.admin+path, w.sign("app", auth.ScopeRead)); r.status != http.StatusForbidden {
			t.Errorf("%s without scope: %d", path, r.status)
		}
		if r := w.call(http.MethodPost, w.admin+path, ""); r.status != http.StatusUnauthorized {
			t.Errorf("%s without token: %d", path, r.status)
		}
		if r := w.get(w.admin+path, w.sign("ops", auth.ScopeAdmin)); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "POST" {
			t.Errorf("GET %s: %d %v", path, r.status, r.header)
		}
	}
	if r := n.post("/admin/disconnect", `{"account":"user:u1","reason":"`+strings.Repeat("x", 70_000)+`"}`); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", r.status)
	}
	for _, call := range []string{
		"GET /admin/connections?account=nonsense", "GET /admin/connections?account=", "GET /admin/connections?acount=user:u1",
		"GET /admin/connections?account=user:u1&account=user:u2", "GET /admin/stats?account=user:u1", "POST /admin/drain?gateway=b",
	} {
		method, path, _ := strings.Cut(call, " ")
		if r := w.call(method, w.admin+path, w.sign("ops", auth.ScopeAdmin)); r.status != http.StatusBadRequest || r.json["code"] != "invalid_request" {
			t.Errorf("%s: %d %v", call, r.status, r.json)
		}
	}
}

// Of who has not authenticated yet, nothing is made up.
func TestConnectionWithoutToken(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.untilReady()
	c, resp, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err, resp)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	r := w.get(w.admin+"/admin/connections", w.sign("ops", auth.ScopeAdmin))
	list, _ := r.json["connections"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d %v", r.status, r.json)
	}
	one, _ := list[0].(map[string]any)
	if expires, there := one["expiresAt"]; there || one["connectedAt"] == nil {
		t.Errorf("expires %v: %v", expires, one)
	}
}

// Without Redis the others cannot be told; the call says so and has done here
// what it can.
func TestRevokeWithoutRedis(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	w.untilReady()
	n := &node{w, w.url, w.admin, w.stop}
	c, _ := n.dial(w.sign("user:u1", ""))
	srv.Kill()
	if r := n.post("/admin/revoke", `{"account":"user:u1"}`); r.status != http.StatusServiceUnavailable || r.json["code"] != "unavailable" || r.header.Get("Retry-After") == "" {
		t.Errorf("revoke without redis: %d %v", r.status, r.json)
	}
	closed(t, c, 4403)
}

// A revoked token administers nothing any more.
func TestRevokedAdministrator(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.untilReady()
	n := &node{w, w.url, w.admin, w.stop}
	raw, err := auth.Sign(secret, auth.Request{Subject: "ops2", TokenID: "lost", Scopes: []string{auth.ScopeAdmin}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.get(w.admin+"/admin/stats", raw); r.status != http.StatusOK {
		t.Fatalf("before: %d %v", r.status, r.json)
	}
	n.post("/admin/revoke", `{"tokenId":"lost"}`)
	if r := w.get(w.admin+"/admin/stats", raw); r.status != http.StatusForbidden || r.json["code"] != "forbidden" {
		t.Errorf("after: %d %v", r.status, r.json)
	}
	if r := w.call(http.MethodPost, w.admin+"/admin/drain", raw); r.status != http.StatusForbidden {
		t.Errorf("drain: %d %v", r.status, r.json)
	}
}

// However many revocations Redis does not take, this gateway's memory has a bound.
func TestTooManyRevocations(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.untilReady()
	n := &node{w, w.url, w.admin, w.stop}
	list := make([]ws.Revocation, gateway.MaxHeld)
	for i := range list {
		list[i] = ws.Revocation{TokenID: strconv.Itoa(i), Until: time.Now().Add(time.Hour)}
	}
	w.running.Hub().Revoke(list...)
	if r := n.post("/admin/revoke", `{"account":"user:u1"}`); r.status != http.StatusServiceUnavailable || r.json["code"] != "overloaded" || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.status, r.json)
	}
	if got := len(w.running.Hub().Revocations()); got != len(list) {
		t.Errorf("%d in force", got)
	}
}

// A connection to Redis that has died without a word is noticed, and the channel
// heard on another.
func TestControlChannelHangs(t *testing.T) {
	t.Parallel() // most of the time it waits
	srv := testenv.RedisServer(t)
	u, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	link := testenv.NewProxy(t, u.Host)
	direct, err := redisconn.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Close() })
	u.Host = link.Addr()
	w := newWorldOn(t, u.String(), bus.Keys{}, gateway.Config{})
	w.untilReady()
	subscriber := func() string { // the id of its connection
		list, err := direct.Do(t.Context(), "CLIENT", "LIST", "TYPE", "PUBSUB").Text()
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := strings.Cut(list, " ")
		return id
	}
	before := subscriber()
	link.PauseReplies()
	w.until("given up", func() reply { return reply{json: map[string]any{"id": subscriber()}} },
		func(r reply) bool { return r.json["id"] != before })
	link.Resume()
	w.untilReady()
	n := &node{w, w.url, w.admin, w.stop}
	c, _ := n.dial(w.sign("user:u1", ""))
	w.until("heard", func() reply {
		heard, err := direct.Publish(t.Context(), w.keys.Control(), `{"op":"disconnect","account":"user:u1","from":"another"}`).Result()
		return reply{status: int(heard), json: map[string]any{"err": err}}
	}, func(r reply) bool { return r.status > 0 })
	closed(t, c, 4410)
}
