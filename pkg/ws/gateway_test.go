package ws

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// testTimeout is the maximum time that a test waits for an expected event.
const testTimeout = 5 * time.Minute

// testTokens is the Authenticator of these tests. A token is an Identity as JSON in base64.
type testTokens struct{}

// leeway is the time for which testTokens accepts an expired token, because clocks differ.
const leeway = 30 * time.Second

func (testTokens) Authenticate(_ context.Context, token string) (*Identity, error) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, err
	}
	identity := new(Identity)
	err = json.Unmarshal(data, identity)
	if err != nil {
		return nil, err
	}
	if time.Now().After(identity.ExpiresAt.Add(leeway)) {
		return nil, &AuthError{Reason: "the token has expired"}
	}
	return identity, nil
}

// mintToken returns a token. By default it lasts an hour and names the account of its subject.
func mintToken(t testing.TB, identity Identity) string {
	t.Helper()
	now := time.Now()
	identity.IssuedAt = cmp.Or(identity.IssuedAt, now.Truncate(time.Second)) // iat has whole seconds
	identity.ExpiresAt = cmp.Or(identity.ExpiresAt, now.Add(time.Hour))
	if identity.Accounts == nil && bus.ValidAccount(identity.Subject) {
		identity.Accounts = []string{identity.Subject}
	}
	data, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// mintTokenFor returns a token of the subject app for the accounts.
func mintTokenFor(t testing.TB, accounts ...string) string {
	t.Helper()
	return mintToken(t, Identity{Subject: "app", Accounts: accounts})
}

// writeErrorJSON is the Config.WriteError of these tests.
func writeErrorJSON(w http.ResponseWriter, _ *http.Request, e *HTTPError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e) // the client checks the body
}

// A gateway is a hub behind a real HTTP server.
type gateway struct {
	t      testing.TB
	hub    *Hub
	ledger *ledger
	server *httptest.Server
	stop   func() // ends Run and waits for it
}

func newGateway(t testing.TB, cfg Config) *gateway {
	t.Helper()
	return newGatewayWithAuth(t, cfg, testTokens{})
}

func newGatewayWithAuth(t testing.TB, cfg Config, a Authenticator) *gateway {
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
	// The timeouts are for requests. Longer connections must clear them.
	g.server.Config.ReadTimeout = time.Second
	g.server.Config.WriteTimeout = time.Second
	g.server.Start()
	g.stop = sync.OnceFunc(func() {
		cancel()
		err := <-done
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		g.server.Close()
	})
	t.Cleanup(g.stop)
	return g
}

// deliverEvents commits n events, includes them in the snapshots and delivers them.
func (g *gateway) deliverEvents(account string, n int) {
	g.hub.Deliver(g.ledger.publishEvents(account, n), false)
}

// deliverPadded is deliverEvents for events with a padding of that many bytes.
func (g *gateway) deliverPadded(account string, n, padding int) {
	pad := strings.Repeat("x", padding)
	batch := g.ledger.publishEvents(account, n)
	for i := range batch {
		batch[i].View = []byte(`{"eventId":"` + batch[i].ID + `","pad":"` + pad + `"}`)
	}
	g.hub.Deliver(batch, false)
}

// listConnections lists the connections of an account, or all connections.
func (g *gateway) listConnections(account string) []ConnectionInfo {
	infos, _ := g.hub.Connections(account, 100)
	return infos
}

// wsURL returns the URL of the WebSocket.
func (g *gateway) wsURL() string {
	return strings.Replace(g.server.URL, "http", "ws", 1) + "/v1/ws"
}

// dial opens a WebSocket.
func (g *gateway) dial(header http.Header) *client {
	g.t.Helper()
	c, resp, err := g.tryDial(header)
	if err != nil {
		g.t.Fatalf("dial: %v, response %v", err, resp)
	}
	return c
}

func (g *gateway) tryDial(header http.Header) (*client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, g.wsURL(), &websocket.DialOptions{
		HTTPHeader:   header,
		Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		return nil, resp, err
	}
	ws.SetReadLimit(8 << 20)
	g.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: g.t, ws: ws}, resp, nil
}

// expectRefused checks that the handshake is refused with the status. It returns the response.
func (g *gateway) expectRefused(header http.Header, status int) *http.Response {
	g.t.Helper()
	_, resp, err := g.tryDial(header)
	if err == nil {
		g.t.Fatalf("dial: got a connection, want status %d", status)
	}
	if resp == nil {
		g.t.Fatalf("dial: got %v, want status %d", err, status)
	}
	if resp.StatusCode != status {
		g.t.Errorf("dial: got status %d, want %d", resp.StatusCode, status)
	}
	return resp
}

// expectOverloaded is expectRefused for a response that must have the header Retry-After.
func (g *gateway) expectOverloaded(header http.Header, status int) {
	g.t.Helper()
	resp := g.expectRefused(header, status)
	checkRetryAfter(g.t, resp)
}

// checkRetryAfter checks that the response has the header Retry-After.
func checkRetryAfter(t testing.TB, resp *http.Response) {
	t.Helper()
	if resp.Header.Get("Retry-After") == "" {
		t.Error("Retry-After: got none")
	}
}

func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// login dials with a token for the accounts and reads the welcome.
func (g *gateway) login(accounts ...string) *client {
	g.t.Helper()
	return g.loginWith(Identity{Subject: "app", Accounts: accounts})
}

// loginWith dials with a token for the identity and reads the welcome.
func (g *gateway) loginWith(identity Identity) *client {
	g.t.Helper()
	c := g.dial(bearerHeader(mintToken(g.t, identity)))
	c.welcome = c.expectFrame("welcome")
	return c
}

// waitUntil waits until isDone returns true.
func waitUntil(t testing.TB, condition string, isDone func() bool) {
	t.Helper()
	deadline := time.Now().Add(testTimeout)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !isDone() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", condition)
		}
		<-tick.C
	}
}

// waitForConnections waits until the gateway has n connections.
func (g *gateway) waitForConnections(n int) {
	g.t.Helper()
	waitUntil(g.t, "the connections are closed", func() bool {
		return g.hub.Stats().Connections == n
	})
}

// checkEqual checks that got equals want.
func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// checkField checks a member of a frame. want is nil for a member that must be absent.
func checkField(t testing.TB, f map[string]any, name string, want any) {
	t.Helper()
	if f[name] != want {
		t.Errorf("%s: got %v, want %v in frame %v", name, f[name], want, f)
	}
}

// checkSnapshot checks that a part of a frame has a snapshot.
func checkSnapshot(t testing.TB, f map[string]any) {
	t.Helper()
	if f["snapshot"] == nil {
		t.Errorf("snapshot: got none in %v", f)
	}
}
