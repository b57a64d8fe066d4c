package ws

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// patience is how long a test waits for something that has to come.
const patience = 10 * time.Second

// testTokens is the Authenticator of these tests. A token is an Identity as JSON, in base64.
type testTokens struct{}

// leeway is how long a token is accepted after its end, as clocks differ.
const leeway = 30 * time.Second

func (testTokens) Authenticate(_ context.Context, token string) (*Identity, error) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, err
	}
	identity := new(Identity)
	if err := json.Unmarshal(data, identity); err != nil {
		return nil, err
	}
	if time.Now().After(identity.ExpiresAt.Add(leeway)) {
		return nil, &AuthError{Reason: "the token has expired"}
	}
	return identity, nil
}

// mint makes a token. It lasts an hour, and is for its subject's account, unless the identity says
// otherwise.
func mint(t testing.TB, identity Identity) string {
	t.Helper()
	identity.IssuedAt = cmp.Or(identity.IssuedAt, time.Now().Truncate(time.Second)) // as iat is
	identity.ExpiresAt = cmp.Or(identity.ExpiresAt, time.Now().Add(time.Hour))
	if identity.Accounts == nil && bus.ValidAccount(identity.Subject) {
		identity.Accounts = []string{identity.Subject}
	}
	data, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// mintFor makes a token for the accounts.
func mintFor(t testing.TB, accounts ...string) string {
	t.Helper()
	return mint(t, Identity{Subject: "app", Accounts: accounts})
}

// writeErrorJSON is the Config.WriteError of these tests.
func writeErrorJSON(w http.ResponseWriter, _ *http.Request, e *HTTPError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e) // the client looks at it
}

// gateway is a hub behind a real HTTP server.
type gateway struct {
	t      testing.TB
	hub    *Hub
	ledger *ledger
	server *httptest.Server
	stop   func() // ends Run and waits for it
}

func newGateway(t testing.TB, cfg Config) *gateway {
	t.Helper()
	return newGatewayFor(t, cfg, testTokens{})
}

func newGatewayFor(t testing.TB, cfg Config, a Authenticator) *gateway {
	t.Helper()
	l := newLedger()
	if cfg.WriteError == nil {
		cfg.WriteError = writeErrorJSON
	}
	g := &gateway{t: t, ledger: l, hub: NewHub(cfg, l, l)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.hub.Run(ctx) }()
	mux := http.NewServeMux()
	mux.Handle("/", g.hub.Handler(a))
	mux.Handle("/v1/events", g.hub.Events(a))
	g.server = httptest.NewUnstartedServer(mux)
	// Of requests; what lives longer has to free itself from them.
	g.server.Config.ReadTimeout, g.server.Config.WriteTimeout = time.Second, time.Second
	g.server.Start()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		g.server.Close()
	})
	t.Cleanup(g.stop)
	return g
}

// deliver commits events, shows them in the snapshots and passes them on.
func (g *gateway) deliver(account string, n int) {
	g.hub.Deliver(g.ledger.publish(account, n), false)
}

// client is a real WebSocket client.
type client struct {
	t       testing.TB
	ws      *websocket.Conn
	pending []map[string]any
}

func (g *gateway) dial(header http.Header) *client {
	g.t.Helper()
	c, resp, err := g.tryDial(header)
	if err != nil {
		g.t.Fatalf("dial: %v (%v)", err, resp)
	}
	return c
}

func (g *gateway) tryDial(header http.Header) (*client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, strings.Replace(g.server.URL, "http", "ws", 1)+"/v1/ws",
		&websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{Subprotocol}})
	if err != nil {
		return nil, resp, err
	}
	ws.SetReadLimit(8 << 20)
	g.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: g.t, ws: ws}, resp, nil
}

// connections lists those of an account, or all.
func (g *gateway) connections(account string) []ConnectionInfo {
	infos, _ := g.hub.Connections(account, 100)
	return infos
}

func bearer(raw string) http.Header { return http.Header{"Authorization": {"Bearer " + raw}} }

// login dials with a token for the accounts and reads the welcome.
func (g *gateway) login(accounts ...string) *client {
	g.t.Helper()
	c := g.dial(bearer(mint(g.t, Identity{Subject: "app", Accounts: accounts})))
	c.expect("welcome")
	return c
}

func (c *client) send(frame string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		c.t.Fatalf("send %.100s: %v", frame, err)
	}
}

// read gives the next frame, or the error that ended the connection.
func (c *client) read() (map[string]any, error) {
	for len(c.pending) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, message, err := c.ws.Read(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(string(message), "\n") {
			var f map[string]any
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				c.t.Fatalf("server sent %q: %v", line, err)
			}
			c.pending = append(c.pending, f)
		}
	}
	f := c.pending[0]
	c.pending = c.pending[1:]
	return f, nil
}

func (c *client) expect(op string) map[string]any {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", op, err)
	}
	if f["op"] != op {
		c.t.Fatalf("got %v, want op %s", f, op)
	}
	return f
}

func (c *client) expectError(code string) map[string]any {
	c.t.Helper()
	f := c.expect("error")
	if f["code"] != code {
		c.t.Fatalf("got %v, want code %s", f, code)
	}
	return f
}

// expectEvents reads the events from … to of an account.
func (c *client) expectEvents(sub, account string, from, to int64) {
	c.t.Helper()
	for seq := from; seq <= to; seq++ {
		f := c.expect("event")
		if f["sub"] != sub || f["account"] != account || f["seq"] != float64(seq) {
			c.t.Fatalf("got %v, want %s %s %d", f, sub, account, seq)
		}
	}
}

// expectClose reads until the connection is closed, and wants the code.
func (c *client) expectClose(code protocol.CloseCode) websocket.CloseError {
	c.t.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusCode(code) {
			c.t.Fatalf("closed with %v, want %d", err, code)
		}
		return closed
	}
}

// subscribed is the account's part of a subscribed frame.
func subscribedTo(f map[string]any, i int) map[string]any {
	list, _ := f["accounts"].([]any)
	a, _ := list[i].(map[string]any)
	return a
}

// eventually waits until ok, without assuming how long that takes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

func mustBeJSON(t testing.TB, b []byte) {
	t.Helper()
	if !json.Valid(b) {
		t.Fatalf("not JSON: %q", b)
	}
}
