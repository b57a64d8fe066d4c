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

// TestPublishAsksTheRightNode makes a cluster client believe that two servers share the slots. They are no cluster and would
// not send it elsewhere, so a call that goes to the wrong one leaves its keys there.
func TestPublishAsksTheRightNode(t *testing.T) {
	var nodes [2]redis.UniversalClient
	var slots []redis.ClusterSlot
	for i := range nodes {
		server := testenv.RedisServer(t)
		nodes[i] = streamtest.Open(t, server.URL())
		slots = append(slots, redis.ClusterSlot{Start: i * 8192, End: i*8192 + 8191, Nodes: []redis.ClusterNode{{Addr: server.Addr()}}})
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil }})
	t.Cleanup(func() { _ = rdb.Close() })
	keys := bus.Keys{Namespace: "t", Partitions: 16}
	p, b := publish.New(rdb, publish.Config{Keys: keys}), newRedisBus(t, rdb, bus.Config{Keys: keys})
	for i := range 50 {
		account := fmt.Sprint("user:", i)
		streamtest.MustPublish(t, p, streamtest.NewPublication(account, 1, 1))
		publishOne(t, b, fmt.Sprint("e", i), account)
	}
	var right int64 // entries where the client itself looks for them
	for partition := range keys.Partitions {
		right += rdb.XLen(t.Context(), keys.Stream(partition)).Val()
	}
	if right != 2*50 {
		t.Errorf("%d of 100 entries are on the right node", right)
	}
}
