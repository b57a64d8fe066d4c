package ws

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Over TLS, a socket cannot be written to without waiting. The guarantees are the same.
func TestHubOverTLS(t *testing.T) {
	g := newGateway(t, Config{})
	g.server.Close()
	g.server = httptest.NewTLSServer(g.server.Config.Handler)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, g.wsURL(), &websocket.DialOptions{
		HTTPClient:   g.server.Client(),
		HTTPHeader:   bearerHeader(mintToken(t, Identity{Subject: "user:u1"})),
		Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, ws: ws}
	c.expectFrame("welcome")
	c.subscribe()
	for range 50 {
		g.deliverEvents("user:u1", 20)
	}
	c.expectEvents("s", "user:u1", 1, 1000)
	g.hub.Disconnect("user:u1", "", "")
	c.expectClose(protocol.CloseDisconnected)
}
