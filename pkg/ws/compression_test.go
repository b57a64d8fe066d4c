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

// A countingConn is a connection that counts the received bytes.
type countingConn struct {
	net.Conn
	received *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// dialCompressed logs in with an offer of compression. It returns the negotiated extension and a
// counter of the received bytes.
func (g *gateway) dialCompressed(
	mode websocket.CompressionMode,
) (c *client, extension string, received *atomic.Int64) {
	g.t.Helper()
	received = new(atomic.Int64)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return countingConn{conn, received}, err
		},
	}
	g.t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(g.t.Context(), testTimeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, g.wsURL(), &websocket.DialOptions{
		HTTPClient:           &http.Client{Transport: transport},
		HTTPHeader:           bearerHeader(mintTokenFor(g.t, "user:u1")),
		Subprotocols:         []string{Subprotocol},
		CompressionMode:      mode,
		CompressionThreshold: 1,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = ws.CloseNow() })
	c = &client{t: g.t, ws: ws}
	c.expectFrame("welcome")
	return c, resp.Header.Get("Sec-WebSocket-Extensions"), received
}

// Messages are compressed if it is configured and the client offers it.
func TestCompression(t *testing.T) {
	const deflate = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	for name, tc := range map[string]struct {
		enabled   bool
		mode      websocket.CompressionMode
		extension string
	}{
		"disabled": {
			mode: websocket.CompressionContextTakeover,
		},
		"not offered": {
			enabled: true,
			mode:    websocket.CompressionDisabled,
		},
		"offered with context": {
			enabled:   true,
			mode:      websocket.CompressionContextTakeover,
			extension: deflate,
		},
		"offered without context": {
			enabled:   true,
			mode:      websocket.CompressionNoContextTakeover,
			extension: deflate,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{Compression: tc.enabled})
			c, extension, received := g.dialCompressed(tc.mode)
			checkEqual(t, "extension", extension, tc.extension)

			c.subscribe()
			before := received.Load()
			size := g.deliverRepetitive(200)
			c.expectEvents("s", "user:u1", 1, 200)
			bytes := int(received.Load() - before)
			if tc.extension == "" && bytes < size {
				t.Errorf("received bytes: got %d, want at least %d", bytes, size)
			}
			if tc.extension != "" && bytes > size/3 {
				t.Errorf("received bytes: got %d, want at most %d", bytes, size/3)
			}

			// The size limit is for the uncompressed message.
			c.sendFrame(strings.Repeat(" ", 1<<20))
			c.expectClose(protocol.CloseTooBig)
		})
	}
}

// deliverRepetitive delivers n events that compress well. It returns their total size.
func (g *gateway) deliverRepetitive(n int) (size int) {
	text := strings.Repeat("the same text again and again, ", 10)
	const batchSize = 20
	for range n / batchSize {
		batch := g.ledger.publishEvents("user:u1", batchSize)
		for i := range batch {
			batch[i].View = []byte(`{"eventId":"` + batch[i].ID + `","text":"` + text + `"}`)
			size += len(batch[i].View)
		}
		g.hub.Deliver(batch, false)
	}
	return size
}
