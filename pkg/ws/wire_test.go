package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The library writes pongs and this module writes messages on the same connection. The client reads
// with long pauses, so writes are interrupted at any byte. Every frame must arrive whole and in
// order, and nothing may follow the close frame.
func TestFramesStayWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		tls         bool
		compression bool
	}{
		"TCP":        {},
		"TLS":        {tls: true},
		"compressed": {compression: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{
				QueueEvents: 100_000,
				QueueBytes:  1 << 30,
				FrameRate:   1 << 20,
				FrameBurst:  1 << 20,
				Compression: tc.compression,
			})
			if tc.tls {
				g.server.Close()
				g.server = httptest.NewTLSServer(g.server.Config.Handler)
			}
			checkFramesStayWhole(t, g)
		})
	}
}

func checkFramesStayWhole(t *testing.T, g *gateway) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTimeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, g.wsURL(), &websocket.DialOptions{
		CompressionMode: websocket.CompressionNoContextTakeover,
		HTTPClient:      g.server.Client(),
		HTTPHeader:      bearerHeader(mintToken(t, Identity{Subject: "user:u1"})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(8 << 20)
	c := &client{t: t, ws: ws}
	c.expectFrame("welcome")
	c.subscribe()

	const batches = 60
	const batchSize = 100
	var wg sync.WaitGroup
	wg.Go(func() { // the library writes a pong for each ping
		for range 200 {
			err := ws.Ping(ctx)
			if err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		for range batches {
			g.deliverNoise(batchSize)
		}
	})
	// The client does not read until the buffers of the sockets are full.
	waitUntil(t, "the queue has more than 500 frames", func() bool {
		infos := g.listConnections("user:u1")
		return len(infos) == 1 && infos[0].QueuedFrames > 500
	})

	c.expectEvents("s", "user:u1", 1, batches*batchSize)
	g.hub.Disconnect("user:u1", "", "")
	c.expectClose(protocol.CloseDisconnected)
	wg.Wait()
}

// deliverNoise delivers n events that do not compress well.
func (g *gateway) deliverNoise(n int) {
	var noise [1500]byte
	_, _ = rand.Read(noise[:]) // never fails
	pad := hex.EncodeToString(noise[:])
	batch := g.ledger.publishEvents("user:u1", n)
	for i := range batch {
		batch[i].View = []byte(`{"eventId":"` + batch[i].ID + `","pad":"` + pad + `"}`)
	}
	g.hub.Deliver(batch, false)
}
