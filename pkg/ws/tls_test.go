package ws

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Over TLS there is no socket to write to without waiting; the promise is the same.
func TestOverTLS(t *testing.T) {
	g := newGateway(t, Config{})
	server := httptest.NewTLSServer(g.server.Config.Handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, strings.Replace(server.URL, "https", "wss", 1)+"/v1/ws", &websocket.DialOptions{
		HTTPClient: server.Client(), HTTPHeader: bearer(mint(t, Identity{Subject: "user:u1"})), Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, ws: ws}
	c.expect("welcome")
	c.send(subscribeFrame)
	c.expect("subscribed")
	for range 50 {
		g.deliver("user:u1", 20)
	}
	c.expectEvents("s", "user:u1", 1, 1000)
	g.hub.Disconnect("user:u1", "", "")
	c.expectClose(protocol.CloseDisconnected)
}
