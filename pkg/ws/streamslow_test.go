package ws

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
)

// A client that does not read its stream is disconnected. The other clients receive every event.
func TestSlowStreamIsDisconnected(t *testing.T) {
	g := newGateway(t, Config{QueueBytes: 64 << 10, QueueEvents: 64})
	slow := g.openStreamFor(t, "", "", "user:u1")
	slow.expectFrame("subscribed")
	fast := g.openStreamFor(t, "", "", "user:u1")
	fast.expectFrame("subscribed")

	const batch = 20
	var seq int64
	for g.hub.Stats().Connections == 2 {
		for range batch {
			g.deliverPadded("user:u1", 1, 3000)
		}
		fast.expectEvents("user:u1", seq+1, seq+batch)
		seq += batch
	}
	for { // the network may still have frames
		_, err := slow.readFrame()
		if err != nil {
			break
		}
	}
	g.deliverEvents("user:u1", 1)
	fast.expectEvents("user:u1", seq+1, seq+1)
}

// openHTTP2Stream opens a stream of user:u1 over HTTP/2.
func (g *gateway) openHTTP2Stream(t *testing.T) *streamClient {
	t.Helper()
	server := httptest.NewUnstartedServer(g.server.Config.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	u := server.URL + "/v1/events"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearerHeader(mintTokenFor(t, "user:u1"))
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	checkEqual(t, "HTTP version", resp.ProtoMajor, 2)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status: got %d, want 200", resp.StatusCode)
	}

	s := &streamClient{t: t, body: bufio.NewReader(resp.Body)}
	s.expectFrame("welcome")
	s.expectFrame("subscribed")
	return s
}

// The write deadline ends with the write, so an idle stream stays open.
func TestIdleHTTP2StreamStaysOpen(t *testing.T) {
	const timeout = 200 * time.Millisecond
	g := newGateway(t, Config{WriteTimeout: timeout})
	s := g.openHTTP2Stream(t)
	idle := time.NewTimer(3 * timeout)
	defer idle.Stop()
	<-idle.C
	g.deliverEvents("user:u1", 1)
	s.expectFrame("event")
}

// Over HTTP/2 a write that times out fails with an error that is not a timeout.
func TestSlowHTTP2StreamIsDisconnected(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{
		QueueBytes:   64 << 20,
		QueueEvents:  1 << 16,
		WriteTimeout: 300 * time.Millisecond,
		Registerer:   reg,
	})
	g.openHTTP2Stream(t)
	g.deliverPadded("user:u1", 2000, 6000) // more than the client's window of 4 MiB
	waitForMetric(t, reg, "realtime_gateway_closes_total", "4413", 1)
	checkMetric(t, reg, "realtime_gateway_limits_total", metrics.LimitWriteTimeout, 1)
}
