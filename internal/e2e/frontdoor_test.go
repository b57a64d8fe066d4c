package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

// TestFrontDoor runs HAProxy and nginx with the files of deploy/ in front of a core and two gateways.
func TestFrontDoor(t *testing.T) {
	t.Parallel()
	for kind, start := range map[string]func(*world, *server, []*server) *frontDoor{
		"haproxy": (*world).startHAProxy,
		"nginx":   (*world).startNginx,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			core := w.startCore("--allowed-origins", pageOrigin)
			// The address of the proxy itself. Clients have other ones.
			flags := []string{"--trusted-proxies", "127.0.0.1", "--max-connections-per-account", "2000"}
			gateways := []*server{
				w.startGateway(core.baseURL(), flags...),
				w.startGateway(core.baseURL(), flags...),
			}
			f := start(w, core, gateways)
			a := w.newAPI(f.server)
			a.creditTimes(1, "user:u1")
			w.waitUntilPublished()

			t.Run("routes", f.testRoutes)
			t.Run("addresses of clients", f.testAddresses)
			t.Run("connections of an address", f.testAddressLimit)
			t.Run("transports", func(t *testing.T) { f.testTransports(t, a) })
			t.Run("reload", func(t *testing.T) { f.testReload(t, a) })
			t.Run("drain", func(t *testing.T) { f.testDrain(t, a) }) // leaves one gateway
			t.Run("log", f.testLog)                                  // of all before
		})
	}
}

// WebSockets, server-sent events and the gateway's balances go to a gateway, and all other requests
// go to the core. Admin paths go nowhere.
func (f *frontDoor) testRoutes(t *testing.T) {
	const problemType = "application/problem+json"
	token := f.w.signToken("user:u1", nil)
	for name, tc := range map[string]struct {
		path        string
		status      int
		source      string // of a balance; only a gateway names it
		contentType string // of a refusal; the proxy's own is no problem document
	}{
		"balance of the core":    {path: "/v1/accounts/user:u1/balance", status: http.StatusOK},
		"balance of the past":    {path: "/v1/accounts/user:u1/balance?asOf=2020-01-01T00:00:00Z", status: http.StatusOK},
		"balance of the gateway": {path: "/gateway/v1/accounts/user:u1/balance", status: http.StatusOK, source: "redis"},
		"prefix of the core":     {path: "/core/v1/accounts/user:u1/balance", status: http.StatusOK},
		"AsyncAPI":               {path: "/asyncapi.json", status: http.StatusOK},
		"OpenAPI":                {path: "/openapi.json", status: http.StatusOK},
		"unknown path":           {path: "/v1/nothing", status: http.StatusNotFound, contentType: problemType},
		"unknown gateway path":   {path: "/gateway/v1/nothing", status: http.StatusNotFound, contentType: problemType},
		"admin":                  {path: "/admin/outbox", status: http.StatusNotFound},
		"admin of the gateway":   {path: "/gateway/admin/stats", status: http.StatusNotFound},
		"admin in capitals":      {path: "/core/Admin", status: http.StatusNotFound},
		"escaped admin":          {path: "/%61dmin/outbox", status: http.StatusNotFound},
		"metrics":                {path: "/metrics", status: http.StatusNotFound},
		"profiles":               {path: "/gateway/debug/pprof/", status: http.StatusNotFound},
		"readiness":              {path: "/readyz", status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			status, header := f.w.getHeader(f.baseURL()+tc.path, token)
			checkEqual(t, "status", status, tc.status)
			checkEqual(t, "source of the balance", header.Get("X-Balance-Source"), tc.source)
			isProblem := header.Get("Content-Type") == problemType
			checkEqual(t, "is a problem document", isProblem, tc.contentType == problemType)
		})
	}

	t.Run("web page that reads from the core", func(t *testing.T) {
		header := http.Header{"Origin": {pageOrigin}, "Authorization": {"Bearer " + token}}
		resp := f.get(t, "/v1/accounts/user:u1/balance", header)
		checkEqual(t, "status", resp.StatusCode, http.StatusOK)
		checkEqual(t, "Access-Control-Allow-Origin", resp.Header.Get("Access-Control-Allow-Origin"), pageOrigin)
	})
	t.Run("long token and position", func(t *testing.T) {
		// Both are of the largest sizes that a gateway takes. It refuses the token.
		secret := strings.Repeat("s", 8<<10)
		header := http.Header{"Last-Event-Id": {strings.Repeat("i", 8<<10)}, "Authorization": {"Bearer " + secret}}
		status := f.getStatus(t, "/v1/events?accounts=user:u1", header)
		checkEqual(t, "status", status, http.StatusUnauthorized)
	})
	t.Run("token in the query", func(t *testing.T) {
		status := f.getStatus(t, "/v1/events?access_token="+url.QueryEscape(tokenInQuery), nil)
		checkEqual(t, "status", status, http.StatusUnauthorized)
	})
}

const (
	tokenInQuery = "a-secret"
	pageOrigin   = "https://app.example.com"
)

// testLog wants the requests in the proxy's log, and no token, also if no gateway answers.
func (f *frontDoor) testLog(t *testing.T) {
	for _, g := range f.gateways {
		g.killProcess()
	}
	status := f.getStatus(t, "/v1/events?access_token="+tokenInQuery, nil)
	if status != http.StatusBadGateway && status != http.StatusServiceUnavailable {
		t.Errorf("status without gateways: got %d, want 502 or 503", status)
	}
	for _, status := range []int{http.StatusUnauthorized, status} {
		f.w.waitUntil(fmt.Sprintf("the log has the request with status %d", status), func() bool {
			return f.hasLogged("GET /v1/events HTTP", fmt.Sprintf(" %d ", status))
		})
	}
	for _, secret := range []string{tokenInQuery, f.w.signToken("user:u1", nil)[:20]} {
		if strings.Contains(f.process.Output(), secret) {
			t.Errorf("%s logged the token %s", f.kind, secret)
		}
	}
}

// hasLogged reports whether a line of the log has all the texts.
func (f *frontDoor) hasLogged(texts ...string) bool {
	for line := range strings.Lines(f.process.Output()) {
		isMissing := func(text string) bool { return !strings.Contains(line, text) }
		if !slices.ContainsFunc(texts, isMissing) {
			return true
		}
	}
	return false
}

func (f *frontDoor) getStatus(t *testing.T, path string, header http.Header) int {
	t.Helper()
	return f.get(t, path, header).StatusCode
}

// get returns the head of the answer.
func (f *frontDoor) get(t *testing.T, path string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.baseURL()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := f.w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// Gateways see the address of a client, whatever the client says itself.
func (f *frontDoor) testAddresses(t *testing.T) {
	for _, tc := range []struct {
		name, address string
		open          func(t *testing.T, c *http.Client)
	}{
		{"WebSocket", "127.0.0.8", func(t *testing.T, c *http.Client) { f.dial(t, c, "203.0.113.7") }},
		{"server-sent events", "127.0.0.9", func(t *testing.T, c *http.Client) {
			stream, err := rawclient.OpenEventStream(t.Context(), f.baseURL(), f.w.signToken("user:u1", nil), "", c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stream.Close)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.open(t, f.clientFrom(t, tc.address))
			f.w.waitUntil("a gateway has a connection from "+tc.address, func() bool {
				return strings.Contains(f.connections(), `"remote":"`+tc.address+`:0"`)
			})
			if strings.Contains(f.connections(), "203.0.113.7") {
				t.Error("a gateway believes the X-Forwarded-For of a client")
			}
		})
	}
}

// connections returns the connections of all gateways.
func (f *frontDoor) connections() string {
	var all []byte
	for _, g := range f.gateways {
		token := f.w.signToken("ops", nil, "admin")
		all = append(all, f.w.getBody("http://"+g.admin+"/admin/connections", token, http.StatusOK)...)
	}
	return string(all)
}

// An address may have so many connections. Others are not affected.
func (f *frontDoor) testAddressLimit(t *testing.T) {
	first := f.clientFrom(t, "127.0.0.2")
	for range f.addressLimit {
		f.dial(t, first, "")
	}
	_, resp, err := websocket.Dial(t.Context(), f.baseURL()+"/v1/ws", f.dialOptions(first, ""))
	if err == nil || resp == nil {
		t.Fatalf("connection %d of an address: got error %v and answer %v, want status 429", f.addressLimit+1, err, resp)
	}
	checkEqual(t, "status", resp.StatusCode, http.StatusTooManyRequests)
	f.dial(t, f.clientFrom(t, "127.0.0.3"), "")
}

// clientFrom returns a client whose connections come from the address. It speaks HTTP/1.1.
func (f *frontDoor) clientFrom(t *testing.T, address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: f.clientTLS.Clone()}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// dial opens a WebSocket for the time of the test. It answers pings.
func (f *frontDoor) dial(t *testing.T, c *http.Client, forwardedFor string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, f.baseURL()+"/v1/ws", f.dialOptions(c, forwardedFor))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		readToEnd(ws)
	}()
	t.Cleanup(func() {
		_ = ws.CloseNow()
		<-ended
	})
	return ws
}

func (f *frontDoor) dialOptions(c *http.Client, forwardedFor string) *websocket.DialOptions {
	header := http.Header{"Authorization": {"Bearer " + f.w.signToken("user:u1", nil)}}
	if forwardedFor != "" {
		header.Set("X-Forwarded-For", forwardedFor)
	}
	return &websocket.DialOptions{HTTPClient: c, HTTPHeader: header}
}

// A gateway takes the address of a client from a PROXY header, too.
func TestProxyHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL(), "--trusted-proxies", "127.0.0.0/8")
	ws := w.dialWithProxyHeader(gateway, w.signToken("user:u1", nil), "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n")
	_, _, err := ws.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := w.getBody("http://"+gateway.admin+"/admin/connections", w.signToken("ops", nil, "admin"), http.StatusOK)
	if !strings.Contains(string(body), `"remote":"203.0.113.9:4711"`) {
		t.Errorf("connections: got %s, want one from 203.0.113.9", body)
	}
}

// dialWithProxyHeader connects as a proxy does that sends the header first.
func (w *world) dialWithProxyHeader(s *server, bearer, proxyHeader string) *websocket.Conn {
	w.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(conn, proxyHeader)
		return conn, err
	}}
	ws, _, err := websocket.Dial(w.Context(), s.baseURL()+"/v1/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + bearer}},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// getHeader makes a request and returns the status and the header of the answer.
func (w *world) getHeader(url, bearer string) (status int, header http.Header) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		w.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode, resp.Header
}
