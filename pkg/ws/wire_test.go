package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Pongs from the library and messages of ours go out on one connection
// whose client reads in fits, so that writes are cut everywhere: every frame must
// arrive whole, in order, and nothing after the close.
func TestFramesStayWhole(t *testing.T) {
	for _, how := range []string{"TCP", "TLS", "compressed"} {
		t.Run(how, func(t *testing.T) {
			g := newGateway(t, Config{QueueEvents: 100_000, QueueBytes: 1 << 30, FrameRate: 1 << 20, FrameBurst: 1 << 20, Compression: how == "compressed"})
			if how == "TLS" {
				g.server.Close()
				g.server = httptest.NewTLSServer(g.server.Config.Handler)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
			defer cancel()
			ws, _, err := websocket.Dial(ctx, strings.Replace(g.server.URL, "http", "ws", 1), &websocket.DialOptions{
				CompressionMode: websocket.CompressionNoContextTakeover, HTTPClient: g.server.Client(), HTTPHeader: bearer(mint(t, Identity{Subject: "user:u1"})),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			ws.SetReadLimit(8 << 20)
			c := &client{t: t, ws: ws}
			c.expect("welcome")
			c.send(`{"op":"subscribe","sub":"s"}`)
			c.expect("subscribed")

			const batches, each = 60, 100
			var wg sync.WaitGroup
			wg.Go(func() { // pings make the library write in between
				for range 200 {
					if ws.Ping(ctx) != nil {
						return
					}
				}
			})
			wg.Go(func() {
				var noise [1500]byte // that does not compress
				_, _ = rand.Read(noise[:])
				pad := hex.EncodeToString(noise[:])
				for range batches {
					ds := g.ledger.publish("user:u1", each)
					for i := range ds {
						ds[i].View = []byte(`{"eventId":"` + ds[i].ID + `","pad":"` + pad + `"}`)
					}
					g.hub.Deliver(ds, false)
				}
			})
			// Nobody reads until the sockets are full.
			eventually(t, "the gateway has more than the sockets take", func() bool {
				infos := g.connections("user:u1")
				return len(infos) == 1 && infos[0].QueuedFrames > 500
			})
			c.expectEvents("s", "user:u1", 1, batches*each)
			g.hub.Disconnect("user:u1", "", "")
			c.expectClose(protocol.CloseDisconnected)
			wg.Wait()
		})
	}
}
