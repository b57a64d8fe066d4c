package bus_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

func TestPublishKeepsPartitionsApartOnACluster(t *testing.T) {
	server := streamtest.ClusterOfOne(t)
	for _, url := range []string{"redis+cluster://" + server.Addr(), server.URL()} {
		scheme, _, _ := strings.Cut(url, ":")
		t.Run(scheme, func(t *testing.T) {
			rdb, keys := streamtest.Open(t, url), bus.Keys{Namespace: t.Name(), Partitions: 16}
			p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys, MaxGroups: 10})
			for seq := int64(1); seq <= 4; seq += 2 {
				var pubs []bus.Publication
				for i := range 50 {
					account := fmt.Sprintf("user:%d", i)
					pubs = append(pubs, group(account, seq, 1), group(account, seq+1, 1))
				}
				for i, o := range publish(t, p, pubs...) {
					if !o.Done() {
						t.Fatalf("publication %d: %v", i, o)
					}
				}
			}
			for i := range 50 {
				if got := fmt.Sprint(streamtest.Seqs(t, rdb, keys, fmt.Sprintf("user:%d", i))); got != "[1 2 3 4]" {
					t.Errorf("user:%d: stream %s", i, got)
				}
			}
		})
	}
}

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
	p, b := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys}), newRedisBus(t, rdb, bus.Config{Keys: keys})
	for i := range 50 {
		account := fmt.Sprint("user:", i)
		publish(t, p, group(account, 1, 1))
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
