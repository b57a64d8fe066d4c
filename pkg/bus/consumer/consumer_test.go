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

func TestRedisBusConforms(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T, cfg bus.Config) (bus.Bus, func(...bus.Delivery)) {
		rdb, keys := openRedis(t)
		cfg.Keys = keys
		b := newBus(t, rdb, cfg)
		streamtest.RunBus(t, b)
		return b, func(deliveries ...bus.Delivery) { relayDeliveries(t, rdb, keys, deliveries...) }
	})
}

func openRedis(t *testing.T) (redis.UniversalClient, bus.Keys) {
	t.Helper()
	url, namespace := testenv.Redis(t)
	return streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4}
}

func newBus(t *testing.T, rdb redis.UniversalClient, cfg bus.Config) *consumer.Bus {
	t.Helper()
	b, err := consumer.New(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// waitInHandler waits in a handler for a signal. If the test fails before, the handler's context
// ends.
func waitInHandler(ctx context.Context, signal <-chan struct{}) {
	select {
	case <-signal:
	case <-ctx.Done():
	}
}

// relayDeliveries publishes each delivery as an account update of its own, as the ledger's relay
// does.
func relayDeliveries(t *testing.T, rdb redis.UniversalClient, keys bus.Keys, deliveries ...bus.Delivery) {
	t.Helper()
	p := publish.New(rdb, publish.Config{Keys: keys})
	for _, d := range deliveries {
		hash := rdb.HGetAll(t.Context(), keys.BalanceHash(d.Account)).Val()
		if d.Type == bus.TypeHistoryChanged {
			rewindAccount(t, p, &d, hash)
			continue
		}

		before, _ := bus.ParseChain(hash["chain"]) // 0: the account has no event
		update := bus.AccountUpdate{
			Key:        d.ID + d.Account,
			Account:    d.Account,
			Before:     before,
			Deliveries: []bus.Delivery{d},
			Balance:    bus.Balance{Account: d.Account, Seq: d.Seq},
		}
		outcomes, err := p.Publish(context.WithoutCancel(t.Context()), []publish.Publication{{Update: update}})
		if err != nil {
			t.Fatalf("publish %+v: %v", d, err)
		}
		if outcomes[0].Status != bus.Published {
			t.Fatalf("publish %+v: got status %v, want Published", d, outcomes[0].Status)
		}
	}
}

// rewindAccount adds a marker, as the ledger's relay does.
func rewindAccount(t *testing.T, p *publish.Publisher, marker *bus.Delivery, hash map[string]string) {
	t.Helper()
	done, err := p.Rewind(context.WithoutCancel(t.Context()), []publish.Rewind{{
		Account:   marker.Account,
		HashSeq:   hash["seq"],
		HashChain: hash["chain"],
		To:        bus.Balance{Account: marker.Account, Seq: marker.Seq, Chain: marker.Chain},
	}})
	if err != nil || !done[0] {
		t.Fatalf("rewind %+v: got %v, %v", marker, done, err)
	}
}

// A payload with a line break could forge frames. Its entry becomes a dead letter, and the group
// goes on.
func TestEntryWithLineBreakBecomesDeadLetter(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	b := newBus(t, rdb, bus.Config{Keys: keys, Group: "g", Logger: streamtest.DiscardLogger()})
	handled := make(chan string, 10)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
		handled <- e.ID
		return nil
	})
	streamtest.RunBus(t, b)
	partition := keys.Partition("user:a")
	payloads := [][]string{
		{"data", "{\n}"},
		{"data", "{\r}"},
		{"data", "{}", "view", "{\n}"},
	}
	for _, payload := range payloads {
		entry := append([]string{"id", "forged", "type", "t", "account", "user:a", "seq", "1"}, payload...)
		err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Stream(partition), Values: entry}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	publishEvent(t, b, "after", "user:a")
	if id := <-handled; id != "after" {
		t.Errorf("got event %s first, want the one after the malformed entries", id)
	}
	streamtest.WaitFor(t, "the dead letters", func() bool {
		return rdb.XLen(t.Context(), keys.Dead(partition, "g")).Val() == int64(len(payloads))
	})
	streamtest.WaitFor(t, "all acknowledgements", func() bool { return countPending(t, rdb, keys) == 0 })
}

// A bus with another number of partitions than the publishers would miss events.
func TestRunFailsWithAnotherPartitionCount(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		if err := redisconn.CheckLayout(t.Context(), rdb, keys); err != nil {
			t.Fatal(err)
		}
		keys.Partitions *= 2
		b := newBus(t, rdb, bus.Config{Keys: keys, Group: "g"})
		if err := b.Run(t.Context()); !errors.Is(err, bus.ErrLayout) {
			t.Errorf("got error %v, want ErrLayout", err)
		}
		n, err := rdb.Exists(t.Context(), keys.Stream(keys.Partitions-1)).Result()
		if err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("got %d new streams, want 0", n)
		}
	})
}
