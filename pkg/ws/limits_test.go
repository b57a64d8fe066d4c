package ws

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The limits of the contract, as they are when nothing is configured. Each one
// that bites is counted.
func TestLimits(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, AuthTimeout: 300 * time.Millisecond})
	counted := func(limit string) {
		t.Helper()
		eventually(t, limit+" is counted", func() bool { return metric(t, reg, "gateway_limits_total", limit) == 1 })
	}
	login := func() *client { return g.login("user:u1", "user:u2") }

	c := login()
	for i := range 32 {
		c.send(fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`, i))
		c.expect("subscribed")
	}
	c.send(`{"op":"subscribe","sub":"one too many"}`)
	c.expectError(protocol.CodeTooManySubscriptions)
	counted("subscriptions")
	_ = c.ws.CloseNow()

	all := g.dial(bearer(mint(t, Identity{Subject: "app", AllAccounts: true})))
	all.expect("welcome")
	all.send(`{"op":"subscribe","sub":"a","accounts":` + list(64, `"user:a%d"`) + `,"reasons":` + list(32, `"r%d"`) + `}`)
	all.expect("subscribed")
	all.send(`{"op":"subscribe","sub":"b","accounts":` + list(65, `"user:a%d"`) + `}`)
	all.expectError(protocol.CodeBadRequest)
	counted("accounts")
	all.send(`{"op":"subscribe","sub":"c","accounts":["user:a"],"types":` + list(33, `"t%d"`) + `}`)
	all.expectError(protocol.CodeBadRequest)
	counted("filter_values")

	c = login()
	c.send(strings.Repeat(`{"op":"ping"}`+"\n", 200)) // 10 s worth of them, at once
	for range 40 {
		c.expect("pong")
	}
	c.expectClose(protocol.CloseRateLimited)
	counted("frame_rate")

	c = login()
	c.send(strings.Repeat(" ", 16<<10+1))
	c.expectClose(protocol.CloseTooBig)
	counted("message_bytes")

	c = login()
	c.send("1\n2\n3\n4\n5\n6")
	c.expectClose(protocol.CloseBadRequest)
	counted("bad_frames")

	c = g.dial(nil)
	c.expectClose(protocol.CloseAuthTimeout)
	counted("auth_timeout")

	raw := mint(t, Identity{Subject: "user:u7"})
	for range 64 {
		g.dial(bearer(raw)).expect("welcome")
	}
	if _, resp, err := g.tryDial(bearer(raw)); err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the 65th connection of an account: %v", err)
	}
	counted("account_connections")
	if limit := g.hub.accept; limit.Burst() != 10_000 || limit.Limit() != 10_000 {
		t.Errorf("%v new connections a second, %d at once", limit.Limit(), limit.Burst())
	}
}

// New connections beyond the rate are sent away, whatever they are.
func TestAcceptRateIsCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, AcceptRate: 1, MaxConnections: 1})
	g.login("user:u1")
	resp, _ := g.get("", bearer(mint(t, Identity{Subject: "user:u1"})))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("beyond the rate: %d", resp.StatusCode)
	}
	if n := metric(t, reg, "gateway_limits_total", "accept_rate"); n != 1 {
		t.Errorf("counted %v", n)
	}
	g.hub.accept.SetBurst(100)
	eventually(t, "the rate allows another", func() bool {
		resp, _ = g.get("", bearer(mint(t, Identity{Subject: "user:u1"})))
		return metric(t, reg, "gateway_limits_total", "connections") == 1
	})
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("beyond all connections: %d", resp.StatusCode)
	}
}

// A queue holds 1024 frames or 1 MiB, whichever comes first.
func TestQueueLimits(t *testing.T) {
	h := NewHub(Config{}, newLedger(), newLedger())
	for name, c := range map[string]struct{ size, fit int }{"frames": {10, 1024}, "bytes": {8 << 10, 128}} {
		k := newSink(h, &Identity{})
		k.still = true
		for range c.fit {
			k.session.enqueue(netconn.Item{Frame: make([]byte, c.size)})
		}
		if frames, _ := k.session.queue.Waiting(); frames != c.fit || k.session.queue.IsSealed() {
			t.Errorf("%s: %d wait, %d should", name, frames, c.fit)
		}
		k.session.enqueue(netconn.Item{Frame: []byte("x")})
		if frames, bytes := k.session.queue.Waiting(); k.code != protocol.CloseSlowConsumer || frames+bytes != 0 {
			t.Errorf("%s: closed with %d, %d frames of %d bytes wait", name, k.code, frames, bytes)
		}
	}
}

// A replay is no reason to be too slow, however small the queue is, neither from memory nor
// from the history.
func TestReplayFitsASmallQueue(t *testing.T) {
	for name, memory := range map[string]int{"memory": 1 << 20, "history": shards} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{QueueEvents: 128, QueueBytes: 64 << 10, MemoryEvents: memory})
			g.deliver("user:u1", 2000)
			c := g.login("user:u1")
			c.send(`{"op":"subscribe","sub":"s","after":{"user:u1":0}}`)
			c.expect("subscribed")
			c.expectEvents("s", "user:u1", 1, 2000)
		})
	}
}
