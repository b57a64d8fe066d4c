package ws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A client that only answers pings stays connected.
func TestHeartbeatKeepsConnection(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 300 * time.Millisecond})
	pinged := make(chan struct{}, 10)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	quiet, _, err := websocket.Dial(ctx, g.wsURL(), &websocket.DialOptions{
		HTTPHeader: bearerHeader(mintToken(t, Identity{Subject: "user:u1"})),
		OnPingReceived: func(context.Context, []byte) bool {
			pinged <- struct{}{}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = quiet.CloseNow() }()
	_, _, err = quiet.Read(ctx) // the welcome
	if err != nil {
		t.Fatal(err)
	}

	quiet.CloseRead(ctx) // answers pings and sends nothing else
	for range 4 {
		select {
		case <-pinged:
		case <-ctx.Done():
			t.Fatal("got no ping")
		}
	}
	checkEqual(t, "connections", len(g.listConnections("")), 1)
}

// A client that answers no ping is disconnected after two heartbeats.
func TestDeadClientIsDisconnected(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 200 * time.Millisecond})
	c := g.login("user:u1") // does not read, so it does not answer
	g.waitForConnections(0)
	_ = c.ws.CloseNow()
}

func TestDisconnectByConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	other := g.login("user:u1")
	id, _ := c.welcome["connection"].(string)
	checkEqual(t, "connections closed", g.hub.Disconnect("", id, "test"), 1)
	checkEqual(t, "close text", c.expectClose(protocol.CloseDisconnected), "disconnected: test")
	other.expectPong()
}

func TestDisconnectByAccount(t *testing.T) {
	g := newGateway(t, Config{})
	a := g.login("user:u1")
	b := g.login("user:u1")
	other := g.login("user:u2")
	longReason := strings.Repeat("ü", 100) // does not fit into a close frame
	checkEqual(t, "connections closed", g.hub.Disconnect("user:u1", "", longReason), 2)
	for _, c := range []*client{a, b} {
		text := c.expectClose(protocol.CloseDisconnected)
		if !strings.HasPrefix(text, "disconnected: ") {
			t.Errorf("close text: got %q, want disconnected and the reason", text)
		}
	}
	other.expectPong()
}

func TestConnectionsShowSubject(t *testing.T) {
	g := newGateway(t, Config{})
	g.login("user:u1")
	g.login("user:u2")
	infos := g.listConnections("user:u1")
	if len(infos) != 1 {
		t.Fatalf("connections: got %d, want 1", len(infos))
	}
	checkEqual(t, "subject", infos[0].Subject, "app")
}

// Run closes all connections when its context ends. It does not wait for a client that does not
// read.
func TestRunClosesConnections(t *testing.T) {
	g := newGateway(t, Config{})
	reading := g.login("user:u1")
	silent := g.login("user:u2")
	var wg sync.WaitGroup
	wg.Go(func() { reading.expectClose(protocol.CloseGoingAway) })

	start := time.Now()
	g.stop()
	duration := time.Since(start)
	if duration > time.Minute {
		t.Errorf("Run returned after %v, want at most a minute", duration)
	}
	wg.Wait()
	_ = silent.ws.CloseNow()
}

// Drain spreads the reconnections over the window.
func TestDrainSpreadsReconnections(t *testing.T) {
	g := newGateway(t, Config{})
	clients := []*client{g.login("user:u1"), g.login("user:u2"), g.login("user:u3")}
	delays := make(chan any, len(clients))
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			f := c.expectFrame("reconnect")
			checkField(t, f, "reason", "drain")
			delays <- f["afterMs"]
			c.expectClose(protocol.CloseRestart)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	g.hub.Drain(ctx, 45*time.Millisecond)
	wg.Wait()
	close(delays)

	got := map[any]bool{}
	for delay := range delays {
		got[delay] = true
	}
	for _, want := range []float64{15, 30, 45} {
		if !got[want] {
			t.Errorf("delays: got %v, want %v among them", got, want)
		}
	}
	token := mintToken(t, Identity{Subject: "user:u1"})
	g.expectRefused(bearerHeader(token), http.StatusServiceUnavailable)
}

func TestDrainWithoutWindow(t *testing.T) {
	g := newGateway(t, Config{})
	clients := []*client{g.login("user:u1"), g.login("user:u2")}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			checkField(t, c.expectFrame("reconnect"), "afterMs", 0.0)
			c.expectClose(protocol.CloseRestart)
		})
	}
	g.hub.Drain(t.Context(), -1)
	wg.Wait()
}

func TestPanicEndsOnlyItsConnection(t *testing.T) {
	g := newGateway(t, Config{})
	g.ledger.update(func(l *ledger) { l.balancePanics = true })
	other := g.login("user:u1")
	g.deliverEvents("user:u1", 1)
	other.subscribe()
	c := g.login("user:u2")
	c.sendFrame(subscribeFrame) // user:u2 has no snapshot, so the history is asked
	c.expectClose(protocol.CloseInternal)
	g.deliverEvents("user:u1", 1)
	other.expectEvents("s", "user:u1", 2, 2)
}

// A flood of pings exceeds the frame rate.
func TestPingFloodClosesConnection(t *testing.T) {
	g := newGateway(t, Config{FrameRate: 1, FrameBurst: 20})
	c := g.login("user:u1")
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { c.expectClose(protocol.CloseRateLimited) })
	for {
		err := c.ws.Ping(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error("got an open connection, want it closed")
		}
		if err != nil {
			break
		}
	}
	wg.Wait()
}

// Many clients connect, subscribe and disconnect while events are delivered. This is for the race
// detector and for goleak.
func TestChurn(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 100_000})
	stop := make(chan struct{})
	var delivering sync.WaitGroup
	delivering.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				g.deliverEvents("user:u1", 3)
			}
		}
	})

	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 10 {
				g.subscribeAndResume()
			}
		})
	}
	clients.Wait()
	close(stop)
	delivering.Wait()

	g.waitForConnections(0)
	stats := g.hub.Stats()
	checkEqual(t, "subscriptions", stats.Subscriptions, 0)
	checkEqual(t, "accounts", stats.Accounts, 0)
}

// subscribeAndResume reads some events on one connection and continues on another one.
func (g *gateway) subscribeAndResume() {
	c := g.login("user:u1")
	start, _ := c.subscribe()["seq"].(float64)
	seq := int64(start)
	c.expectEvents("s", "user:u1", seq+1, seq+20)
	_ = c.ws.CloseNow()

	c = g.login("user:u1")
	c.sendResume(seq + 10)
	c.expectResumed(seq + 10)
	c.expectEvents("s", "user:u1", seq+11, seq+40)
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
}
