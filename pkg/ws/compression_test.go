package ws

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// counting is a connection that counts what comes in.
type counting struct {
	net.Conn
	n *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// offering dials with an offer of compression, and gives what was negotiated and a count of
// the bytes that came.
func (g *gateway) offering(mode websocket.CompressionMode) (c *client, negotiated string, received *atomic.Int64) {
	g.t.Helper()
	received = new(atomic.Int64)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return counting{conn, received}, err
	}}
	g.t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, strings.Replace(g.server.URL, "http", "ws", 1)+"/v1/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: bearer(mintFor(g.t, "user:u1")), Subprotocols: []string{Subprotocol},
		CompressionMode: mode, CompressionThreshold: 1,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = ws.CloseNow() })
	c = &client{t: g.t, ws: ws}
	c.expect("welcome")
	return c, resp.Header.Get("Sec-WebSocket-Extensions"), received
}

// Compression is off unless configured, and then for those who offer it.
func TestCompression(t *testing.T) {
	for name, tc := range map[string]struct {
		on   bool
		mode websocket.CompressionMode
		want string
	}{
		"off":                       {false, websocket.CompressionContextTakeover, ""},
		"not offered":               {true, websocket.CompressionDisabled, ""},
		"offered":                   {true, websocket.CompressionContextTakeover, "permessage-deflate; client_no_context_takeover; server_no_context_takeover"},
		"offered without a context": {true, websocket.CompressionNoContextTakeover, "permessage-deflate; client_no_context_takeover; server_no_context_takeover"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{Compression: tc.on})
			c, negotiated, received := g.offering(tc.mode)
			if negotiated != tc.want {
				t.Fatalf("negotiated %q, want %q", negotiated, tc.want)
			}
			c.send(subscribeFrame)
			c.expect("subscribed")
			before := received.Load()
			const events = 200
			plain := 0
			for range events / 20 {
				batch := g.ledger.publish("user:u1", 20)
				for i := range batch {
					batch[i].View = []byte(`{"eventId":"` + batch[i].ID + `","text":"` + strings.Repeat("what is said again and again, ", 10) + `"}`)
					plain += len(batch[i].View)
				}
				g.hub.Deliver(batch, false)
			}
			c.expectEvents("s", "user:u1", 1, events)
			if came := int(received.Load() - before); tc.want == "" && came < plain || tc.want != "" && came > plain/3 {
				t.Errorf("%d bytes came for %d", came, plain)
			}
			// A megabyte that is sent as a few bytes is still more than 16 KiB.
			c.send(strings.Repeat(" ", 1<<20))
			c.expectClose(protocol.CloseTooBig)
		})
	}
}
