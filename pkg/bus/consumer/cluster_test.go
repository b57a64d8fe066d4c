package consumer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// The cluster client assigns each of two separate servers one half of the slots. The servers do not
// redirect, so a call to the wrong server writes its keys there.
func TestPublishWritesToTheRightClusterNode(t *testing.T) {
	var nodes [2]redis.UniversalClient
	var slots []redis.ClusterSlot
	for i := range nodes {
		server := testenv.RedisServer(t)
		nodes[i] = streamtest.Open(t, server.URL())
		slots = append(slots, redis.ClusterSlot{
			Start: i * 8192,
			End:   i*8192 + 8191,
			Nodes: []redis.ClusterNode{{Addr: server.Addr()}},
		})
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil }})
	t.Cleanup(func() { _ = rdb.Close() })
	keys := bus.Keys{Namespace: "t", Partitions: 16}
	p := publish.New(rdb, publish.Config{Keys: keys})
	b := newBus(t, rdb, bus.Config{Keys: keys})
	for i := range 50 {
		account := fmt.Sprint("user:", i)
		streamtest.MustPublish(t, p, streamtest.NewPublication(account, 1, 1))
		publishEvent(t, b, fmt.Sprint("e", i), account)
	}
	var entries int64 // entries on the nodes from which the client reads
	for partition := range keys.Partitions {
		entries += rdb.XLen(t.Context(), keys.Stream(partition)).Val()
	}
	if entries != 2*50 {
		t.Errorf("got %d entries on the right node, want 100", entries)
	}
}
