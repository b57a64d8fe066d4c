package ws

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A client that does not read is disconnected. The other clients receive every event.
func TestSlowClientIsDisconnected(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Registerer: reg, QueueEvents: 300})
	slow := g.login("user:u1")
	slow.subscribe()
	fast := g.login("user:u1")
	fast.subscribe()

	const batch = 50
	var seq int64
	for readMetric(t, reg, "realtime_gateway_drops_total", "slow_consumer") == 0 {
		g.deliverPadded("user:u1", batch, 4<<10)
		fast.expectEvents("s", "user:u1", seq+1, seq+batch)
		seq += batch
		if seq > 50_000 {
			t.Fatal("the slow client is still connected, want it disconnected")
		}
	}
	checkEqual(t, "close text", slow.expectClose(protocol.CloseSlowConsumer), "slow_consumer")

	g.deliverEvents("user:u1", 1)
	fast.expectEvents("s", "user:u1", seq+1, seq+1)
	waitForMetric(t, reg, "realtime_gateway_closes_total", "4413", 1)
}

// A long replay proceeds at the pace of the client.
func TestReplayFollowsClient(t *testing.T) {
	g := newGateway(t, Config{QueueEvents: 300, MaxReplay: 20_000})
	g.deliverEvents("user:u1", 5000)
	c := g.login("user:u1")
	c.sendResume(0)
	waitUntil(t, "the replay has begun", func() bool {
		return g.hub.Stats().Subscriptions == 1
	})
	c.expectResumed(0)
	c.expectEvents("s", "user:u1", 1, 5000)
}

// A replay never fills the queue, even if the queue is small.
func TestReplayFitsSmallQueue(t *testing.T) {
	for name, memoryEvents := range map[string]int{
		"from memory":  1 << 20,
		"from history": feed.ShardCount,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{
				QueueEvents:  128,
				QueueBytes:   64 << 10,
				MemoryEvents: memoryEvents,
			})
			g.deliverEvents("user:u1", 2000)
			c := g.login("user:u1")
			c.subscribeWith(`{"op":"subscribe","sub":"s","after":{"user:u1":0}}`)
			c.expectEvents("s", "user:u1", 1, 2000)
		})
	}
}
