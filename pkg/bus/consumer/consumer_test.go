package consumer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/bustest"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

func TestRedisIsABus(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T, cfg bus.Config) (bus.Bus, func(...bus.Delivery)) {
		rdb, keys := groupRedis(t)
		cfg.Keys = keys
		b := newRedisBus(t, rdb, cfg)
		streamtest.RunBus(t, b)
		return b, func(deliveries ...bus.Delivery) { relay(t, rdb, keys, deliveries...) }
	})
}

func groupRedis(t *testing.T) (redis.UniversalClient, bus.Keys) {
	t.Helper()
	url, namespace := testenv.Redis(t)
	return streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4}
}

func newRedisBus(t *testing.T, rdb redis.UniversalClient, cfg bus.Config) *consumer.Bus {
	t.Helper()
	b, err := consumer.New(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hold waits in a handler for a test's signal, or for the end of a test that failed before.
func hold(ctx context.Context, signal <-chan struct{}) {
	select {
	case <-signal:
	case <-ctx.Done():
	}
}

// relay publishes deliveries as the ledger's relay does, each as a group of its own.
func relay(t *testing.T, rdb redis.UniversalClient, keys bus.Keys, deliveries ...bus.Delivery) {
	t.Helper()
	p := publish.New(rdb, publish.Config{Keys: keys})
	for _, d := range deliveries {
		outcomes, err := p.Publish(context.WithoutCancel(t.Context()), []publish.Publication{{Update: bus.AccountUpdate{
			Key: d.ID + d.Account, Account: d.Account, Deliveries: []bus.Delivery{d}, Balance: bus.Balance{Account: d.Account, Seq: d.Seq},
		}}})
		if err != nil || outcomes[0].Status != bus.Published {
			t.Fatalf("publish %+v: %v, %v", d, outcomes, err)
		}
	}
}

// TestRunWantsTheStreamsThatArePublished has a bus with another number of partitions than Redis: it would miss events.
func TestRunWantsTheStreamsThatArePublished(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		if err := redisconn.CheckLayout(t.Context(), rdb, keys); err != nil {
			t.Fatal(err)
		}
		keys.Partitions *= 2
		b := newRedisBus(t, rdb, bus.Config{Keys: keys, Group: "g"})
		if err := b.Run(t.Context()); !errors.Is(err, bus.ErrLayout) {
			t.Errorf("Run returned %v, want ErrLayout", err)
		}
		if n, err := rdb.Exists(t.Context(), keys.Stream(keys.Partitions-1)).Result(); n != 0 || err != nil {
			t.Errorf("it made %d streams, %v", n, err)
		}
	})
}
