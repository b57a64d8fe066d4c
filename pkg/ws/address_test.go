package ws

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
)

func TestNetworkOf(t *testing.T) {
	for remote, want := range map[string]string{
		"203.0.113.7:4711":          "203.0.113.7/32",
		"[::ffff:203.0.113.7]:4711": "203.0.113.7/32",
		"[2001:db8:1:2:3::7]:4711":  "2001:db8:1:2::/64",
		"[fe80::7%eth0]:4711":       "fe80::/64",
		"203.0.113.7:0":             "203.0.113.7/32",
		"127.0.0.1:4711":            "",
		"[::1]:4711":                "",
		"[::ffff:127.0.0.1]:4711":   "",
		"":                          "",
		"@":                         "",
		"a name that is no address": "",
	} {
		t.Run(remote, func(t *testing.T) {
			var network netip.Prefix
			if want != "" {
				network = netip.MustParsePrefix(want)
			}
			checkEqual(t, "network", networkOf(remote), network)
		})
	}
}

// connectFrom requests a connection as a client with the remote address. It returns the status.
func connectFrom(t *testing.T, hub *Hub, remote string) (status int, disconnect func()) {
	t.Helper()
	handler := hub.Handler(testTokens{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = remote
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	header := bearerHeader(mintTokenFor(t, "user:u1"))
	conn, resp, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		if resp == nil {
			t.Fatal(err)
		}
		return resp.StatusCode, func() {}
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return resp.StatusCode, func() { _ = conn.CloseNow() }
}

// One address has a bounded number of connections. Other addresses are not affected.
func TestConnectionsPerAddress(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{MaxConnectionsPerAddress: 2, Registerer: reg})
	connect := func(remote string, want int) (disconnect func()) {
		t.Helper()
		status, disconnect := connectFrom(t, g.hub, remote)
		checkEqual(t, "status for "+remote, status, want)
		return disconnect
	}
	const accepted = http.StatusSwitchingProtocols

	disconnect := connect("203.0.113.7:1", accepted)
	connect("[::ffff:203.0.113.7]:2", accepted)
	connect("203.0.113.7:3", http.StatusTooManyRequests)
	waitForMetric(t, reg, "realtime_gateway_limits_total", metrics.LimitAddressConnections, 1)
	connect("203.0.113.8:4", accepted)
	connect("[2001:db8::1]:5", accepted)
	connect("[2001:db8::2]:6", accepted)
	connect("[2001:db8::3]:7", http.StatusTooManyRequests)
	connect("[2001:db8:0:1::3]:8", accepted)
	for range 3 {
		connect("127.0.0.1:9", accepted)
	}

	disconnect()
	waitUntil(t, "the connection is removed", func() bool { return g.hub.clients.checkNetwork(networkOf("203.0.113.7:1")) == nil })
	connect("203.0.113.7:10", accepted)
	connect("203.0.113.7:11", http.StatusTooManyRequests)
}
