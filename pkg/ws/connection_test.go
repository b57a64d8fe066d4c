package ws

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

type busDelivery = bus.Delivery

func TestAuthInFrame(t *testing.T) {
	g := newGateway(t, Config{Gateway: "g7", HeartbeatInterval: 40 * time.Second})
	c := g.dial(nil)
	if c.ws.Subprotocol() != Subprotocol {
		t.Errorf("subprotocol %q", c.ws.Subprotocol())
	}
	c.send(`{"op":"auth","token":"` + mint(t, Identity{Subject: "user:u1"}) + `"}`)
	f := c.expect("welcome")
	expires, err := time.Parse(bus.TimeFormat, f["expiresAt"].(string))
	if err != nil || time.Until(expires) < 59*time.Minute || f["gateway"] != "g7" || f["heartbeatSeconds"] != 40.0 || f["connection"] == "" {
		t.Errorf("%v %v", f, err)
	}
	c.send(`{"op":"subscribe","sub":"s"}`) // sub has the form of an account
	if a := subscribedTo(c.expect("subscribed"), 0); a["account"] != "user:u1" {
		t.Error(a)
	}
}

func TestAuthTimeout(t *testing.T) {
	g := newGateway(t, Config{AuthTimeout: 50 * time.Millisecond})
	c := g.dial(nil)
	if got := c.expectClose(protocol.CloseAuthTimeout); got.Reason != "auth_timeout" {
		t.Errorf("reason %q", got.Reason)
	}
}

func TestTokenRenewal(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(bearer(mint(t, Identity{Subject: "app", Accounts: []string{"user:u1", "user:u2"}})))
	first := c.expect("welcome")
	for _, u := range []string{"u1", "u2"} {
		c.send(`{"op":"subscribe","sub":"` + u + `","accounts":["user:` + u + `"]}`)
		c.expect("subscribed")
	}
	c.send(`{"op":"auth","token":"` + mint(t, Identity{Subject: "app", Accounts: []string{"user:u2"}, ExpiresAt: time.Now().Add(2 * time.Hour)}) + `"}`)
	again := c.expect("welcome")
	if again["connection"] != first["connection"] || again["expiresAt"] == first["expiresAt"] {
		t.Errorf("%v after %v", again, first)
	}
	// What the new token does not cover ends, the rest goes on.
	if f := c.expectError(protocol.CodeForbidden); f["sub"] != "u1" {
		t.Error(f)
	}
	if f := c.expect("unsubscribed"); f["sub"] != "u1" {
		t.Error(f)
	}
	g.deliver("user:u1", 1)
	g.deliver("user:u2", 1)
	c.expectEvents("u2", "user:u2", 1, 1)
	if n := len(g.connections("user:u1")); n != 0 {
		t.Errorf("%d connections under the account that was given up", n)
	}
}

func TestTokenExpiry(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(bearer(mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(2 * time.Second)})))
	w := c.expect("welcome")
	if f := c.expect("token_expiring"); f["expiresAt"] != w["expiresAt"] {
		t.Errorf("%v after %v", f, w)
	}
	c.expectClose(protocol.CloseUnauthorized)
}

// A token that comes a little after its end is good for a moment: the client is told for how long, not of the past.
func TestTokenComesLate(t *testing.T) {
	g := newGateway(t, Config{})
	raw := mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(-10 * time.Second)})
	begin := time.Now().Add(lateToken).Truncate(time.Millisecond)
	c := g.dial(bearer(raw))
	w := c.expect("welcome")
	s := g.open(t, "", bearer(raw)).welcome
	for _, welcome := range []map[string]any{w, s} {
		ends, err := time.Parse(bus.TimeFormat, welcome["expiresAt"].(string))
		if err != nil || ends.Before(begin) || ends.After(time.Now().Add(lateToken)) {
			t.Errorf("%v, begun with %v left", welcome, lateToken)
		}
	}
	if f := c.expect("token_expiring"); f["expiresAt"] != w["expiresAt"] {
		t.Errorf("%v after %v", f, w)
	}
	for _, info := range g.connections("user:u1") {
		if info.ExpiresAt.Before(begin) {
			t.Errorf("%+v", info)
		}
	}
}

func TestRenewalPutsTheEndOff(t *testing.T) {
	g := newGateway(t, Config{ExpiryNotice: time.Second})
	c := g.dial(bearer(mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(2 * time.Second)})))
	c.expect("welcome")
	c.expect("token_expiring")
	c.send(`{"op":"auth","token":"` + mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(3 * time.Second)}) + `"}`)
	c.expect("welcome")
	c.expect("token_expiring") // of the second token: the first one's end has passed by
	c.expectClose(protocol.CloseUnauthorized)
}

func TestHeartbeat(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 300 * time.Millisecond})
	pinged := make(chan struct{}, 10)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	quiet, _, err := websocket.Dial(ctx, strings.Replace(g.server.URL, "http", "ws", 1), &websocket.DialOptions{
		HTTPHeader:     bearer(mint(t, Identity{Subject: "user:u1"})),
		OnPingReceived: func(context.Context, []byte) bool { pinged <- struct{}{}; return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = quiet.CloseNow() }()
	if _, _, err := quiet.Read(ctx); err != nil { // welcome
		t.Fatal(err)
	}
	quiet.CloseRead(ctx) // answers pings, sends nothing else
	for range 4 {
		select {
		case <-pinged:
		case <-ctx.Done():
			t.Fatal("no ping")
		}
	}
	if n := len(g.connections("")); n != 1 {
		t.Errorf("%d connections, a living one was dropped", n)
	}
}

// A peer that answers no ping is gone after two heartbeats.
func TestDeadPeer(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 200 * time.Millisecond})
	c := g.login("user:u1") // nobody reads from now on, so nobody answers
	eventually(t, "the dead peer is dropped", func() bool { return len(g.connections("")) == 0 })
	_ = c.ws.CloseNow()
}

// metric reads a counter or gauge, the one with that label value if it has any.
func metric(t *testing.T, reg prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func TestSlowReader(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, QueueEvents: 300})
	slow, quick := g.login("user:u1"), g.login("user:u1")
	for _, c := range []*client{slow, quick} {
		c.send(`{"op":"subscribe","sub":"s"}`)
		c.expect("subscribed")
	}
	big := strings.Repeat("x", 4<<10)
	var seq int64
	for closed := false; !closed; closed = metric(t, reg, "gateway_drops_total", dropSlow) > 0 {
		ds := g.ledger.publish("user:u1", 50)
		for i := range ds {
			ds[i].View = []byte(`{"eventId":"` + ds[i].ID + `","pad":"` + big + `"}`)
		}
		g.hub.Deliver(ds, false)
		quick.expectEvents("s", "user:u1", seq+1, seq+50) // at full speed all the while
		seq += 50
		if seq > 50_000 {
			t.Fatal("the slow reader was never cut off")
		}
	}
	if got := slow.expectClose(protocol.CloseSlowConsumer); got.Reason != "slow_consumer" {
		t.Errorf("reason %q", got.Reason)
	}
	g.deliver("user:u1", 1)
	quick.expectEvents("s", "user:u1", seq+1, seq+1)
	eventually(t, "the close is counted", func() bool { return metric(t, reg, "gateway_closes_total", "4413") == 1 })
}

// A client that reads slowly, but reads, gets a long replay at its own pace.
func TestReplayIsPaced(t *testing.T) {
	g := newGateway(t, Config{QueueEvents: 300, MaxReplay: 20_000})
	g.deliver("user:u1", 5000)
	c := g.login("user:u1")
	c.send(resume(0))
	eventually(t, "the replay has begun", func() bool {
		infos := g.connections("")
		return len(infos) == 1 && len(infos[0].Subscriptions) == 1
	})
	c.expectResumed(0)
	c.expectEvents("s", "user:u1", 1, 5000)
}

func TestConnectionsOfAnAccount(t *testing.T) {
	g := newGateway(t, Config{MaxConnectionsPerAccount: 2})
	a := g.login("user:u1")
	g.login("user:u1", "user:u2")
	raw := mint(t, Identity{Subject: "user:u1"})
	_, resp, err := g.tryDial(bearer(raw))
	if err == nil || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third: %v", err)
	}
	c := g.dial(nil)
	c.send(`{"op":"auth","token":"` + raw + `"}`)
	c.expectClose(protocol.CloseRateLimited)
	_ = a.ws.Close(websocket.StatusNormalClosure, "")
	eventually(t, "there is room again", func() bool {
		c, _, err := g.tryDial(bearer(raw))
		return err == nil && c != nil
	})
}

func TestAcceptRate(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 1})
	g.login("user:u1")
	_, resp, err := g.tryDial(bearer(mint(t, Identity{Subject: "user:u1"})))
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v", err)
	}
}

// A client that is refused counts once against the rate, whoever has looked at it.
func TestAcceptRateOfARefusedClient(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 1})
	if _, resp, err := g.tryDial(bearer("no.such.token")); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestDisconnect(t *testing.T) {
	g := newGateway(t, Config{})
	a, b, other := g.login("user:u1"), g.login("user:u1"), g.login("user:u2")
	infos := g.connections("user:u1")
	if len(infos) != 2 || infos[0].Subject != "app" {
		t.Fatalf("%+v", infos)
	}
	if n := g.hub.Disconnect("", infos[0].ID, "test"); n != 1 {
		t.Errorf("%d", n)
	}
	if n := g.hub.Disconnect("user:u1", "", strings.Repeat("ü", 100)); n < 1 {
		t.Errorf("%d", n)
	}
	for _, c := range []*client{a, b} {
		if got := c.expectClose(protocol.CloseDisconnected); !strings.HasPrefix(got.Reason, "disconnected: ") {
			t.Errorf("reason %q", got.Reason)
		}
	}
	other.send(`{"op":"ping"}`)
	other.expect("pong")
}

func TestRunEnds(t *testing.T) {
	g := newGateway(t, Config{})
	polite, silent := g.login("user:u1"), g.login("user:u2")
	var wg sync.WaitGroup
	wg.Go(func() { polite.expectClose(protocol.CloseGoingAway) })
	began := time.Now()
	g.stop() // though silent never reads
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	wg.Wait()
	_ = silent.ws.CloseNow()
}

func TestDrain(t *testing.T) {
	g := newGateway(t, Config{})
	clients := []*client{g.login("user:u1"), g.login("user:u2"), g.login("user:u3")}
	delays := make(chan float64, len(clients))
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			f := c.expect("reconnect")
			delays <- f["afterMs"].(float64)
			if f["reason"] != "drain" {
				t.Error(f)
			}
			c.expectClose(protocol.CloseRestart)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g.hub.Drain(ctx, 45*time.Millisecond)
	wg.Wait()
	close(delays)
	seen := map[float64]bool{}
	for d := range delays {
		seen[d] = true
	}
	if len(seen) != 3 || !seen[15] || !seen[30] || !seen[45] {
		t.Errorf("delays %v", seen)
	}
	_, resp, err := g.tryDial(bearer(mint(t, Identity{Subject: "user:u1"})))
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("accepted while draining: %v", err)
	}
}

func TestDrainWithoutAWindow(t *testing.T) {
	g := newGateway(t, Config{})
	clients := []*client{g.login("user:u1"), g.login("user:u2")}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if f := c.expect("reconnect"); f["afterMs"].(float64) != 0 {
				t.Error(f)
			}
			c.expectClose(protocol.CloseRestart)
		})
	}
	g.hub.Drain(t.Context(), -1)
	wg.Wait()
}

// panicking is a History that fails in the worst way.
type panicking struct{ *ledger }

func (panicking) Balance(context.Context, string) (bus.Balance, bool, error) { panic("boom") }

func TestPanicStaysInItsConnection(t *testing.T) {
	g := newGateway(t, Config{})
	g.hub.history = panicking{g.ledger}
	fine := g.login("user:u1")
	g.deliver("user:u1", 1)
	fine.send(`{"op":"subscribe","sub":"s"}`)
	fine.expect("subscribed")
	c := g.login("user:u2")
	c.send(`{"op":"subscribe","sub":"s"}`) // not in the snapshots: the history is asked
	c.expectClose(protocol.CloseInternal)
	g.deliver("user:u1", 1)
	fine.expectEvents("s", "user:u1", 2, 2)
}

// A flood of WebSocket pings, or fragments without an end, is no way to keep the
// gateway busy.
func TestPingFlood(t *testing.T) {
	g := newGateway(t, Config{FrameRate: 1, FrameBurst: 20})
	c := g.login("user:u1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { c.expectClose(protocol.CloseRateLimited) })
	for {
		if err := c.ws.Ping(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("never cut off")
			}
			break
		}
	}
	wg.Wait()
}

// Many clients come, subscribe and go while events flow: for the race detector,
// and for goleak.
func TestChurn(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 100_000})
	stop := make(chan struct{})
	var feeding, clients sync.WaitGroup
	feeding.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				g.deliver("user:u1", 3)
			}
		}
	})
	for range 8 {
		clients.Go(func() {
			for range 10 {
				c := g.login("user:u1")
				c.send(`{"op":"subscribe","sub":"s"}`)
				seq := int64(subscribedTo(c.expect("subscribed"), 0)["seq"].(float64))
				c.expectEvents("s", "user:u1", seq+1, seq+20)
				_ = c.ws.CloseNow()
				c = g.login("user:u1")
				c.send(resume(seq + 10))
				c.expectResumed(seq + 10)
				c.expectEvents("s", "user:u1", seq+11, seq+40)
				_ = c.ws.Close(websocket.StatusNormalClosure, "")
			}
		})
	}
	clients.Wait()
	close(stop)
	feeding.Wait()
	eventually(t, "all are gone", func() bool { return g.hub.Stats().Connections == 0 })
	if st := g.hub.Stats(); st.Subscriptions != 0 || st.Accounts != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// A client that resumes is sent old events from memory: they are no latency.
func TestLatencyIsOfLiveEvents(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg})
	publish := func(at time.Time) {
		ds := g.ledger.publish("user:u1", 2)
		for i := range ds {
			ds[i].StreamMillis = at.UnixMilli()
		}
		g.hub.Deliver(ds, false)
	}
	publish(time.Now().Add(-time.Hour))
	c := g.login("user:u1")
	c.send(`{"op":"subscribe","sub":"s","accounts":["user:u1"],"after":{"user:u1":0}}`)
	c.expect("subscribed")
	c.expectEvents("s", "user:u1", 1, 2)
	publish(time.Now())
	c.expectEvents("s", "user:u1", 3, 4)
	var latency *dto.Histogram
	eventually(t, "the live events' write is observed", func() bool {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "gateway_stream_to_socket_seconds" {
				latency = f.GetMetric()[0].GetHistogram()
			}
		}
		return latency.GetSampleCount() > 0
	})
	if latency.GetSampleSum() > 60 {
		t.Errorf("%d writes took %v s together", latency.GetSampleCount(), latency.GetSampleSum())
	}
}
