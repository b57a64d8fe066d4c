package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// startHAProxy runs HAProxy with deploy/haproxy.cfg in front of a core and a gateway. Only the
// addresses and the number of connections are replaced. The second gateway of the file is down.
func (w *world) startHAProxy(core, gateway *server) *server {
	w.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		w.Fatalf("haproxy must be on PATH (on Debian: apt-get install haproxy): %v", err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "haproxy.cfg"))
	if err != nil {
		w.Fatal(err)
	}

	s := &server{w: w, program: "haproxy", http: testenv.FreeAddr(w), admin: testenv.FreeAddr(w)}
	config := string(text)
	for old, replacement := range map[string]string{
		"maxconn 20000":            "maxconn 200", // needs fewer file descriptors
		"bind :8080":               "bind " + s.http,
		"bind :8404":               "bind " + s.admin,
		"gateway-1 gateway-1:8081": "gateway-1 " + gateway.http + " port " + portOf(gateway.admin),
		"gateway-2 gateway-2:8081": "gateway-2 " + testenv.FreeAddr(w),
		"core core:8080":           "core " + core.http + " port " + portOf(core.admin),
	} {
		if strings.Count(config, old) != 1 {
			w.Fatalf("deploy/haproxy.cfg must have %q once", old)
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	file := filepath.Join(w.TempDir(), "haproxy.cfg")
	err = os.WriteFile(file, []byte(config), 0o600)
	if err != nil {
		w.Fatal(err)
	}

	s.process = testenv.StartProcess(w, w.TempDir(), program, []string{"-db", "-f", file}, nil)
	s.checkOutputAtCleanup()
	w.waitUntil("HAProxy answers", func() bool {
		status, err := getOnNewConnection(s.baseURL() + "/asyncapi.json")
		return err == nil && status == http.StatusOK
	})
	return s
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// HAProxy with the file of the compose installation passes WebSockets, server-sent events and the
// gateway's balances to a gateway, and all other requests to the core. It logs no token.
func TestHAProxyRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL(), "--trusted-proxies", "127.0.0.0/8")
	proxy := w.startHAProxy(core, gateway)
	a := w.newAPI(proxy)
	a.creditTimes(1, "user:u1")
	w.waitUntilPublished()
	token := w.signToken("user:u1", nil)

	c := w.startClient("behind HAProxy", []*server{proxy}, "user:u1")
	c.waitForSeq("user:u1", 1)
	stream := &sseClient{w: w, token: token, accounts: []string{"user:u1"}, lastSeqs: map[string]int64{}}
	stream.readUntilSeq(proxy, 1)

	t.Run("client address", func(t *testing.T) {
		// The test is a trusted proxy, too.
		w.dialFrom(proxy, token, "203.0.113.7")
		body := w.getBody("http://"+gateway.admin+"/admin/connections", w.signToken("ops", nil, "admin"), http.StatusOK)
		if !strings.Contains(string(body), `"remote":"203.0.113.7:0"`) {
			t.Errorf("connections: got %s, want one from 203.0.113.7", body)
		}
	})

	t.Run("PROXY header", func(t *testing.T) {
		ws := w.dialWithProxyHeader(gateway, token, "PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n")
		err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"wallet"}`))
		if err != nil {
			t.Fatal(err)
		}
		for answer := ""; !strings.Contains(answer, `"op":"subscribed"`); {
			_, message, err := ws.Read(t.Context())
			if err != nil {
				t.Fatalf("read after %q: %v", answer, err)
			}
			answer = string(message)
		}
		body := w.getBody("http://"+gateway.admin+"/admin/connections", w.signToken("ops", nil, "admin"), http.StatusOK)
		if !strings.Contains(string(body), `"remote":"203.0.113.9:4711"`) {
			t.Errorf("connections: got %s, want one from 203.0.113.9", body)
		}
	})

	for name, tc := range map[string]struct {
		path   string
		status int
		source string // of a balance; only a gateway names it
	}{
		"balance of the core":    {"/v1/accounts/user:u1/balance", http.StatusOK, ""},
		"balance of the past":    {"/v1/accounts/user:u1/balance?asOf=2020-01-01T00:00:00Z", http.StatusOK, ""},
		"balance of the gateway": {"/gateway/v1/accounts/user:u1/balance", http.StatusOK, "redis"},
		"AsyncAPI":               {"/asyncapi.json", http.StatusOK, ""},
		"OpenAPI":                {"/openapi.json", http.StatusOK, ""},
		"unknown path":           {"/v1/nothing", http.StatusNotFound, ""},
		"admin of the gateway":   {"/gateway/admin/stats", http.StatusNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, header := w.getHeader(proxy.baseURL()+tc.path, token)
			checkEqual(t, "status", status, tc.status)
			checkEqual(t, "source of the balance", header.Get("X-Balance-Source"), tc.source)
		})
	}

	status, _ := w.getHeader(proxy.baseURL()+"/v1/events?access_token="+url.QueryEscape("a-secret"), "")
	checkEqual(t, "status with an invalid token in the query", status, http.StatusUnauthorized)
	w.waitUntil("HAProxy logs the request", func() bool {
		return strings.Contains(proxy.process.Output(), "401") && strings.Contains(proxy.process.Output(), "GET /v1/events HTTP")
	})
	for _, secret := range []string{"a-secret", token} {
		if strings.Contains(proxy.process.Output(), secret) {
			t.Errorf("HAProxy logged the token %s", secret)
		}
	}
}

// dialFrom connects as a proxy does whose client has the address.
func (w *world) dialFrom(s *server, bearer, address string) {
	w.Helper()
	header := http.Header{"Authorization": {"Bearer " + bearer}, "X-Forwarded-For": {address}}
	ws, _, err := websocket.Dial(w.Context(), s.baseURL()+"/v1/ws", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = ws.CloseNow() })
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
