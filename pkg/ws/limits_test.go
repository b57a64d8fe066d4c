package ws

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A limitTest exceeds a default limit. It runs on a gateway of its own.
type limitTest struct {
	limit  string // the label in realtime_gateway_limits_total
	exceed func(t *testing.T, g *gateway)
}

// The default limits have the values in docs/protocol.md. Each client that exceeds one is counted.
func TestDefaultLimits(t *testing.T) {
	for name, tc := range map[string]limitTest{
		"32 subscriptions":       {metrics.LimitSubscriptions, exceedSubscriptions},
		"64 accounts":            {metrics.LimitAccounts, exceedAccounts},
		"32 filter values":       {metrics.LimitFilterValues, exceedFilterValues},
		"40 frames at once":      {metrics.LimitFrameRate, exceedFrameRate},
		"message of 16 KiB":      {metrics.LimitMessageBytes, exceedMessageBytes},
		"5 malformed frames":     {metrics.LimitBadFrames, exceedBadFrames},
		"time to authenticate":   {metrics.LimitAuthTimeout, exceedAuthTimeout},
		"64 account connections": {metrics.LimitAccountConnections, exceedAccountConnections},
	} {
		t.Run(name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			g := newGateway(t, Config{Registerer: reg, AuthTimeout: 300 * time.Millisecond})
			tc.exceed(t, g)
			waitForMetric(t, reg, "realtime_gateway_limits_total", tc.limit, 1)
		})
	}
}

func exceedSubscriptions(_ *testing.T, g *gateway) {
	c := g.login("user:u1")
	for i := range 32 {
		c.subscribeWith(fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`, i))
	}
	c.sendFrame(`{"op":"subscribe","sub":"one too many"}`)
	c.expectError(protocol.CodeTooManySubscriptions)
}

func exceedAccounts(_ *testing.T, g *gateway) {
	c := g.loginWith(Identity{Subject: "app", AllAccounts: true})
	c.subscribeWith(`{"op":"subscribe","sub":"a","accounts":` + formatList(64, `"user:a%d"`) + `}`)
	c.sendFrame(`{"op":"subscribe","sub":"b","accounts":` + formatList(65, `"user:a%d"`) + `}`)
	c.expectError(protocol.CodeBadRequest)
}

func exceedFilterValues(_ *testing.T, g *gateway) {
	c := g.login("user:u1")
	c.subscribeWith(`{"op":"subscribe","sub":"a","reasons":` + formatList(32, `"r%d"`) + `}`)
	c.sendFrame(`{"op":"subscribe","sub":"b","types":` + formatList(33, `"t%d"`) + `}`)
	c.expectError(protocol.CodeBadRequest)
}

func exceedFrameRate(_ *testing.T, g *gateway) {
	c := g.login("user:u1")
	c.sendFrame(strings.Repeat(`{"op":"ping"}`+"\n", 200)) // the frames of 10 s at once
	for range 40 {
		c.expectFrame("pong")
	}
	c.expectClose(protocol.CloseRateLimited)
}

func exceedMessageBytes(_ *testing.T, g *gateway) {
	c := g.login("user:u1")
	c.sendFrame(strings.Repeat(" ", 16<<10+1))
	c.expectClose(protocol.CloseTooBig)
}

func exceedBadFrames(_ *testing.T, g *gateway) {
	c := g.login("user:u1")
	c.sendFrame("1\n2\n3\n4\n5\n6")
	c.expectClose(protocol.CloseBadRequest)
}

func exceedAuthTimeout(_ *testing.T, g *gateway) {
	c := g.dial(nil)
	c.expectClose(protocol.CloseAuthTimeout)
}

func exceedAccountConnections(t *testing.T, g *gateway) {
	header := bearerHeader(mintToken(t, Identity{Subject: "user:u7"}))
	for range 64 {
		g.dial(header).expectFrame("welcome")
	}
	g.expectRefused(header, http.StatusTooManyRequests)
}

func TestDefaultAcceptRate(t *testing.T) {
	h := NewHub(Config{}, newLedger(), newLedger())
	checkEqual(t, "burst", h.accept.Burst(), 10_000)
	checkEqual(t, "connections per second", h.accept.Limit(), 10_000)
}

func TestTooManyConnectionsOfAccount(t *testing.T) {
	g := newGateway(t, Config{MaxConnectionsPerAccount: 2})
	first := g.login("user:u1")
	g.login("user:u1", "user:u2")
	token := mintToken(t, Identity{Subject: "user:u1"})
	g.expectOverloaded(bearerHeader(token), http.StatusTooManyRequests)

	c := g.dial(nil)
	c.sendAuth(token)
	c.expectClose(protocol.CloseRateLimited)

	_ = first.ws.Close(websocket.StatusNormalClosure, "")
	waitUntil(t, "another connection is admitted", func() bool {
		_, _, err := g.tryDial(bearerHeader(token))
		return err == nil
	})
}

func TestAcceptRateOfWebSockets(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 1})
	g.login("user:u1")
	token := mintToken(t, Identity{Subject: "user:u1"})
	g.expectOverloaded(bearerHeader(token), http.StatusServiceUnavailable)
}

// A refused request counts only once towards the accept rate.
func TestAcceptRateCountsRefusedRequestOnce(t *testing.T) {
	g := newGateway(t, Config{AcceptRate: 1})
	g.expectRefused(bearerHeader("no.such.token"), http.StatusUnauthorized)
}

func TestAcceptRateOfStreams(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, AcceptRate: 1})
	g.login("user:u1")
	resp, _ := g.requestStream("", bearerHeader(mintToken(t, Identity{Subject: "user:u1"})))
	checkEqual(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
	checkRetryAfter(t, resp)
	checkMetric(t, reg, "realtime_gateway_limits_total", metrics.LimitAcceptRate, 1)
}

func TestTooManyConnections(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, MaxConnections: 1})
	g.login("user:u1")
	resp, _ := g.requestStream("", bearerHeader(mintToken(t, Identity{Subject: "user:u1"})))
	checkEqual(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
	checkRetryAfter(t, resp)
	checkMetric(t, reg, "realtime_gateway_limits_total", metrics.LimitConnections, 1)
}

// A queue holds 1024 frames or 1 MiB, whichever is less.
func TestDefaultQueueLimits(t *testing.T) {
	h := NewHub(Config{}, newLedger(), newLedger())
	for name, tc := range map[string]struct {
		frameSize int
		frames    int
	}{
		"frames": {frameSize: 10, frames: 1024},
		"bytes":  {frameSize: 8 << 10, frames: 128},
	} {
		t.Run(name, func(t *testing.T) {
			k := newSink(h, &Identity{})
			k.isSlow = true
			for range tc.frames {
				k.session.EnqueueItem(netconn.Item{Frame: make([]byte, tc.frameSize)})
			}
			frames, _ := k.session.Queue.Waiting()
			checkEqual(t, "queued frames", frames, tc.frames)
			checkEqual(t, "sealed", k.session.Queue.IsSealed(), false)

			k.session.EnqueueItem(netconn.Item{Frame: []byte("x")})
			checkEqual(t, "close code", k.code, protocol.CloseSlowConsumer)
			frames, bytes := k.session.Queue.Waiting()
			checkEqual(t, "queued frames after the close", frames, 0)
			checkEqual(t, "queued bytes after the close", bytes, 0)
		})
	}
}
