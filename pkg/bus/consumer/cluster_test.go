package consumer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// openTwoServers returns a client of a cluster that assigns each of two separate servers one half of
// the slots. The servers do not redirect, so a call to the wrong server writes its keys there.
func openTwoServers(t *testing.T) (*redis.ClusterClient, [2]*testenv.Server) {
	t.Helper()
	var servers [2]*testenv.Server
	var slots []redis.ClusterSlot
	for i := range servers {
		servers[i] = testenv.RedisServer(t)
		slots = append(slots, redis.ClusterSlot{
			Start: i * 8192,
			End:   i*8192 + 8191,
			Nodes: []redis.ClusterNode{{Addr: servers[i].Addr()}},
		})
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots:          func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
		DialerRetries:         1,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb, servers
}

func TestPublishWritesToTheRightClusterNode(t *testing.T) {
	rdb, _ := openTwoServers(t)
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

// TestOtherPartitionsGoOnWhileAnAcknowledgementFails kills one of two servers before an event of it
// is acknowledged. More events of the other server are handled than may be in flight.
func TestOtherPartitionsGoOnWhileAnAcknowledgementFails(t *testing.T) {
	t.Parallel()
	rdb, servers := openTwoServers(t)
	keys := bus.Keys{Namespace: "t", Partitions: 2}.WithDefaults() // one on each server
	accounts := [2]string{accountIn(keys, 0), accountIn(keys, 1)}
	b := newBus(t, rdb, bus.Config{Keys: keys, Group: "g", MaxInFlight: 8, Logger: streamtest.DiscardLogger()})
	begun := make(chan struct{})
	killed := make(chan struct{})
	var handled atomic.Int64
	handle := func(ctx context.Context, e *bus.Event) error {
		if e.Account == accounts[1] {
			close(begun)
			waitInHandler(ctx, killed)
			return nil
		}
		handled.Add(1)
		return nil
	}
	_, err := b.Subscribe(bus.Subscription{ID: "s", Handler: bus.HandlerFunc(handle)})
	if err != nil {
		t.Fatal(err)
	}
	streamtest.RunBus(t, b)
	// A reader that starts needs the layout, which is on one of the servers.
	publishEvent(t, b, "first", accounts[0])
	streamtest.WaitFor(t, "the first event", func() bool { return handled.Load() == 1 })
	publishEvent(t, b, "blocking", accounts[1])
	<-begun
	servers[1].Kill()
	close(killed)
	for i := range 100 {
		publishEvent(t, b, fmt.Sprint("e", i), accounts[0])
	}
	streamtest.WaitFor(t, "100 more handled events", func() bool { return handled.Load() == 101 })
	servers[1].Start()
}

// accountIn returns an account in a partition.
func accountIn(keys bus.Keys, partition int) string {
	for i := 0; ; i++ {
		account := fmt.Sprint("user:", i)
		if keys.Partition(account) == partition {
			return account
		}
	}
}
