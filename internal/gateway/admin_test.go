package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
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
	"github.com/redroomrewards/realtime/pkg/ws"
)

// node is one of several gateways.
type node struct {
	w     *world
	url   string
	admin string
}

// currentNode waits until the gateway is ready and returns it.
func (w *world) currentNode() *node {
	w.Helper()
	w.awaitReady()
	return &node{w: w, url: w.url, admin: w.admin}
}

// startNode starts another gateway.
func (w *world) startNode(name string) *node {
	w.Helper()
	w.startGateway(gateway.Config{Name: name})
	return w.currentNode()
}

// dial connects with a token and reads the frame welcome. It returns the connection's id.
func (n *node) dial(token string) (conn *websocket.Conn, id string) {
	n.w.Helper()
	conn, _, err := n.tryDial(token)
	if err != nil {
		n.w.Fatal(err)
	}
	n.w.Cleanup(func() { _ = conn.CloseNow() })
	_, message, err := conn.Read(n.w.Context())
	if err != nil {
		n.w.Fatal(err)
	}
	var welcome struct{ Op, Connection string }
	err = json.Unmarshal(message, &welcome)
	if err != nil || welcome.Op != "welcome" {
		n.w.Fatalf("first frame: got %s (%v), want welcome", message, err)
	}
	return conn, welcome.Connection
}

func (n *node) tryDial(token string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(n.w.Context(), socketURL(n.url), &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
}

func (w *world) adminToken() string {
	w.Helper()
	return w.signToken("ops", auth.ScopeAdmin)
}

// callAdmin makes a POST call of the admin API.
func (n *node) callAdmin(path, body string) reply {
	n.w.Helper()
	return n.w.request(http.MethodPost, n.admin+path, n.w.adminToken(), body)
}

// awaitClose waits for the end of a connection, which must have the code, and returns the reason.
func awaitClose(t *testing.T, conn *websocket.Conn, want websocket.StatusCode) (reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for {
		_, _, err := conn.Read(ctx)
		if err == nil {
			continue
		}
		var end websocket.CloseError
		errors.As(err, &end)
		if websocket.CloseStatus(err) != want {
			t.Errorf("end of the connection: got %v, want close code %d", err, want)
		}
		return end.Reason
	}
}

func TestConnectionsAreListed(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "a"})
	n := w.currentNode()
	n.dial(w.signToken("user:u1", ""))
	n.dial(w.signToken("user:u2", ""))
	n.dial(w.signToken("user:u2", ""))
	r := w.get(n.admin+"/admin/connections?account=user:u2", w.adminToken())
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "total", 2.0)
	r.expectJSON(t, "gateway", "a")
}

// A connection that has not authenticated is listed without an expiry.
func TestConnectionWithoutTokenIsListed(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	conn, resp, err := websocket.Dial(t.Context(), w.socketURL(), nil)
	if err != nil {
		t.Fatal(err, resp)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	r := w.get(w.admin+"/admin/connections", w.adminToken())
	list, _ := r.json["connections"].([]any)
	if len(list) != 1 {
		t.Fatalf("connections: got %d %v, want one", r.status, r.json)
	}
	connection, _ := list[0].(map[string]any)
	if expires, ok := connection["expiresAt"]; ok {
		t.Errorf("expiresAt: got %v, want none", expires)
	}
	if connection["connectedAt"] == nil {
		t.Errorf("connectedAt: got none in %v", connection)
	}
}

func TestDisconnectAppliesToAllGateways(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "a"})
	a := w.currentNode()
	b := w.startNode("b")
	ofAccount, _ := b.dial(w.signToken("user:u1", ""))
	first, firstID := b.dial(w.signToken("user:u2", ""))
	second, secondID := b.dial(w.signToken("user:u2", ""))

	r := a.callAdmin("/admin/disconnect", `{"account":"user:u1","reason":"fraud"}`)
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "gateways", 2.0)
	r.expectJSON(t, "closed", 0.0)
	if got := awaitClose(t, ofAccount, 4410); got != "disconnected: fraud" {
		t.Errorf("reason: got %q, want %q", got, "disconnected: fraud")
	}
	a.callAdmin("/admin/disconnect", `{"connection":"`+firstID+`"}`)
	awaitClose(t, first, 4410)
	again, _ := b.dial(w.signToken("user:u1", "")) // a disconnected client may reconnect
	_ = again.CloseNow()

	b.callAdmin("/admin/disconnect", `{"connection":"`+secondID+`"}`).expectJSON(t, "closed", 1.0)
	awaitClose(t, second, 4410)
}

// expectRevoked checks that the gateway refuses the tokens.
func (n *node) expectRevoked(t *testing.T, tokens ...string) {
	t.Helper()
	for _, token := range tokens {
		conn, resp, err := n.tryDial(token)
		switch {
		case err == nil:
			_ = conn.CloseNow()
			t.Error("connect with a revoked token: got no error")
		case resp == nil:
			t.Errorf("connect with a revoked token: got %v, want status 403", err)
		case resp.StatusCode != http.StatusForbidden:
			t.Errorf("connect with a revoked token: got status %d, want 403", resp.StatusCode)
		}
		n.w.get(n.url+"/v1/accounts/user:u1/balance", token).expectStatus(t, http.StatusForbidden)
	}
}

// Revoked tokens are refused by all gateways, by a gateway that starts later, and by one that starts
// after Redis was emptied.
func TestRevokeAppliesToAllGateways(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{Name: "a"})
	a := w.currentNode()
	b := w.startNode("b")
	byID := w.signRequest(auth.Request{Subject: "user:u1", TokenID: "stolen", TTL: time.Hour})
	byAccount := w.signToken("user:u2", "")
	notRevoked := w.signRequest(auth.Request{Subject: "user:u1", TokenID: "fine", TTL: time.Hour})
	connByID, _ := b.dial(byID)
	connByAccount, _ := b.dial(byAccount)
	connNotRevoked, _ := b.dial(notRevoked)
	connIssuedLater, _ := b.dial(signIssuedLater(t, "user:u2"))

	expiresAt := time.Now().Add(time.Hour).Format(time.RFC3339)
	r := a.callAdmin("/admin/revoke", `{"tokenId":"stolen","expiresAt":"`+expiresAt+`"}`)
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "gateways", 2.0)
	awaitClose(t, connByID, 4403)
	a.callAdmin("/admin/revoke", `{"account":"user:u2"}`).expectStatus(t, http.StatusOK)
	awaitClose(t, connByAccount, 4403)
	awaitClose(t, connIssuedLater, 4403) // open connections are closed whatever their iat
	a.expectRevoked(t, byID, byAccount)
	b.expectRevoked(t, byID, byAccount)
	w.startNode("later").expectRevoked(t, byID, byAccount)

	// The gateways store the revocations that Redis has lost.
	srv.Kill()
	srv.Start()
	w.awaitReply("stored revocations", func() reply {
		n, err := w.rdb.ZCard(context.Background(), w.keys.Revoked()).Result()
		return reply{status: int(n), json: map[string]any{"err": err}}
	}, func(r reply) bool { return r.status == 2 })
	w.startNode("after").expectRevoked(t, byID, byAccount)
	err := connNotRevoked.Ping(connNotRevoked.CloseRead(t.Context()))
	if err != nil {
		t.Errorf("connection with another token of the account: %v", err)
	}
}

// signIssuedLater returns a token whose iat is in the future, within the leeway.
func signIssuedLater(t *testing.T, sub string) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": sub,
		"iat": time.Now().Add(20 * time.Second).Unix(),
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A draining gateway closes its connections with 1012 and accepts no new ones. Other gateways are
// not affected.
func TestDrainCall(t *testing.T) {
	w := newWorld(t, gateway.Config{Name: "a"})
	a := w.currentNode()
	b := w.startNode("b")
	connA, _ := a.dial(w.signToken("user:u1", ""))
	connB, _ := b.dial(w.signToken("user:u1", ""))

	r := b.callAdmin("/admin/drain", `{"gateway":"a"}`)
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "gateways", 2.0)
	awaitClose(t, connA, websocket.StatusServiceRestart)
	w.awaitReply("draining", func() reply { return w.get(a.admin+"/readyz", "") }, isDraining)
	_, resp, err := a.tryDial(w.signToken("user:u1", ""))
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("connect to a draining gateway: got %v, want status 503", err)
	}
	conn, _ := b.dial(w.signToken("user:u1", ""))
	_ = conn.CloseNow()

	r = b.callAdmin("/admin/drain", "")
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "gateway", "b")
	awaitClose(t, connB, websocket.StatusServiceRestart)
}

func TestAdminRefusesBodies(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	n := w.currentNode()
	for path, bodies := range map[string][]string{
		"/admin/disconnect": {
			``, `{}`, `[]`,
			`{"account":"user:u1","connection":"c"}`,
			`{"account":"nonsense"}`,
			`{"acount":"user:u1"}`,
			`{"account":1}`,
			`{"account":"user:u1","reason":"a\nb"}`,
			`{"account":"user:u1"} x`,
		},
		"/admin/revoke": {
			``,
			`{"account":"*"}`,
			`{"tokenId":"a","account":"user:u1"}`,
			`{"tokenId":"a","expiresAt":"yesterday"}`,
			`{"tokenId":"a","expiresAt":"2020-01-01T00:00:00Z"}`,
			`{"tokenId":"a\u0000"}`,
		},
		"/admin/drain": {
			`x`,
			`{"gateway":1}`,
			`{"window":3}`,
		},
	} {
		for _, body := range bodies {
			t.Run(path+" "+body, func(t *testing.T) {
				n.callAdmin(path, body).expectProblem(t, http.StatusBadRequest, "invalid_request")
			})
		}
	}
	t.Run("large body", func(t *testing.T) {
		body := `{"account":"user:u1","reason":"` + strings.Repeat("x", 70_000) + `"}`
		n.callAdmin("/admin/disconnect", body).expectStatus(t, http.StatusRequestEntityTooLarge)
	})
}

func TestAdminRequiresScopeAndMethod(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	for _, path := range []string{"/admin/disconnect", "/admin/revoke", "/admin/drain"} {
		t.Run(path, func(t *testing.T) {
			url := w.admin + path
			w.request(http.MethodPost, url, w.signToken("app", auth.ScopeRead), "").expectStatus(t, http.StatusForbidden)
			w.request(http.MethodPost, url, "", "").expectStatus(t, http.StatusUnauthorized)
			r := w.get(url, w.adminToken())
			r.expectStatus(t, http.StatusMethodNotAllowed)
			r.expectHeader(t, "Allow", http.MethodPost)
		})
	}
}

func TestAdminRefusesQueries(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	for _, call := range []string{
		"GET /admin/connections?account=nonsense",
		"GET /admin/connections?account=",
		"GET /admin/connections?acount=user:u1",
		"GET /admin/connections?account=user:u1&account=user:u2",
		"GET /admin/stats?account=user:u1",
		"POST /admin/drain?gateway=b",
	} {
		t.Run(call, func(t *testing.T) {
			method, path, _ := strings.Cut(call, " ")
			r := w.request(method, w.admin+path, w.adminToken(), "")
			r.expectProblem(t, http.StatusBadRequest, "invalid_request")
		})
	}
}

// Without Redis the other gateways cannot be reached. The call answers 503 and is applied on this
// gateway.
func TestRevokeWithoutRedis(t *testing.T) {
	srv := testenv.RedisServer(t)
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	n := w.currentNode()
	conn, _ := n.dial(w.signToken("user:u1", ""))
	srv.Kill()
	n.callAdmin("/admin/revoke", `{"account":"user:u1"}`).expectRetryable(t, "unavailable")
	awaitClose(t, conn, 4403)
}

// The admin API refuses a revoked token.
func TestRevokedAdminToken(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	n := w.currentNode()
	token := w.signRequest(auth.Request{
		Subject: "ops2",
		TokenID: "revoked",
		Scopes:  []string{auth.ScopeAdmin},
		TTL:     time.Hour,
	})
	w.get(n.admin+"/admin/stats", token).expectStatus(t, http.StatusOK)
	n.callAdmin("/admin/revoke", `{"tokenId":"revoked"}`).expectStatus(t, http.StatusOK)
	w.get(n.admin+"/admin/stats", token).expectProblem(t, http.StatusForbidden, "forbidden")
	w.request(http.MethodPost, n.admin+"/admin/drain", token, "").expectStatus(t, http.StatusForbidden)
}

// The revocations in a gateway's memory are bounded, even when Redis accepts none.
func TestRevokeRefusesTooMany(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	n := w.currentNode()
	list := make([]ws.Revocation, gateway.MaxKnownRevocations)
	for i := range list {
		list[i] = ws.Revocation{TokenID: strconv.Itoa(i), Until: time.Now().Add(time.Hour)}
	}
	w.running.Hub().Revoke(list...)
	n.callAdmin("/admin/revoke", `{"account":"user:u1"}`).expectRetryable(t, "overloaded")
	if got := len(w.running.Hub().Revocations()); got != len(list) {
		t.Errorf("revocations in force: got %d, want %d", got, len(list))
	}
}
