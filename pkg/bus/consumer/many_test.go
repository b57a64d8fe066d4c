package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

var errFlaky = errors.New("fails now and then")

// Two buses have four subscriptions each, of which three fail now and then. Each subscription must
// handle each event exactly once.
func TestFlakySubscriptionsHandleEachEventOnce(t *testing.T) {
	events := 100_000
	if raceEnabled {
		events /= 30
	}
	rdb, keys := openRedis(t)
	cfg := bus.Config{
		Keys:       keys,
		Group:      "g",
		FirstDelay: time.Millisecond,
		PauseAfter: -1,
		Logger:     slog.New(slog.DiscardHandler),
	}
	const subscriptions = 4
	successes := make([][]atomic.Int32, subscriptions) // by subscription and event
	failures := make([][]atomic.Int32, subscriptions)
	var remaining atomic.Int64
	remaining.Store(int64(events * subscriptions))
	for s := range successes {
		successes[s] = make([]atomic.Int32, events)
		failures[s] = make([]atomic.Int32, events)
	}
	for range 2 {
		b := newBus(t, rdb, cfg)
		for s := range subscriptions {
			handler := func(_ context.Context, e *bus.Event) error {
				n, err := strconv.Atoi(e.ID)
				if err != nil {
					return bus.Permanent(err)
				}
				// Of a hundred events one fails once and one fails twice. They are other events for
				// each subscription.
				remainder := (n*31 + s*7) % 100
				isFlaky := s > 0 && remainder < 2
				if isFlaky && int(failures[s][n].Load()) <= remainder {
					failures[s][n].Add(1)
					return errFlaky
				}
				if successes[s][n].Add(1) == 1 {
					remaining.Add(-1)
				}
				return nil
			}
			_, err := b.Subscribe(bus.Subscription{
				ID:       fmt.Sprint("s", s),
				Priority: 1 + s/2,
				Handler:  bus.HandlerFunc(handler),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		streamtest.RunBus(t, b)
	}
	producer := newBus(t, rdb, bus.Config{Keys: keys})
	start := time.Now()
	for from := 0; from < events; from += 500 {
		batch := make([]bus.Event, min(500, events-from))
		for i := range batch {
			n := from + i
			batch[i] = bus.Event{
				ID:      strconv.Itoa(n),
				Type:    "wallet.balance_updated",
				Account: fmt.Sprint("user:u", n%997),
				Data:    []byte(`{"version":"1.0"}`),
			}
		}
		if _, err := producer.Publish(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.WaitFor(t, "all events", func() bool { return remaining.Load() == 0 && countPending(t, rdb, keys) == 0 })
	t.Logf("%d events through %d subscriptions in %s", events, subscriptions, time.Since(start))
	for s := range successes {
		for n := range events {
			if count := successes[s][n].Load(); count != 1 {
				t.Fatalf("subscription %d, event %d: got %d successes, want 1", s, n, count)
			}
		}
	}
	for p := range keys.Partitions {
		if n := rdb.XLen(t.Context(), keys.Dead(p, "g")).Val(); n != 0 {
			t.Errorf("partition %d: got %d dead letters, want 0", p, n)
		}
	}
}

// Each of two consumers reads its own partitions. One consumer must handle all events of an
// account, in order.
func TestConsumersWithOwnPartitionsKeepTheOrder(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	type lastEvent struct {
		consumer int
		number   int
	}
	var mu sync.Mutex
	accounts := map[string]lastEvent{}
	handled := 0
	for c, partitions := range [][]int{{0, 2}, {1, 3}} {
		b := newBus(t, rdb, bus.Config{Keys: keys, Group: "g", Partitions: partitions})
		mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
			n, _ := strconv.Atoi(e.ID)
			mu.Lock()
			defer mu.Unlock()
			handled++
			last, ok := accounts[e.Account]
			if ok && last.consumer != c {
				t.Errorf("%s: got event %d at consumer %d, want consumer %d", e.Account, n, c, last.consumer)
			}
			if ok && last.number >= n {
				t.Errorf("%s: got event %d after event %d, want ascending order", e.Account, n, last.number)
			}
			accounts[e.Account] = lastEvent{c, n}
			return nil
		})
		streamtest.RunBus(t, b)
	}
	producer := newBus(t, rdb, bus.Config{Keys: keys})
	const events = 2000
	for i := range events {
		publishEvent(t, producer, strconv.Itoa(i+1), fmt.Sprint("user:u", i%40))
	}
	streamtest.WaitFor(t, "all events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return handled == events
	})
}

// A handler runs for longer than ClaimAfter. No other consumer must claim its event.
func TestLongHandlerKeepsItsEvent(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	cfg := crashConfig(keys)
	goOn := make(chan struct{})
	var calls atomic.Int32
	for range 2 {
		b := newBus(t, rdb, cfg)
		mustSubscribe(t, b, "s", func(ctx context.Context, _ *bus.Event) error {
			calls.Add(1)
			waitInHandler(ctx, goOn)
			return nil
		})
		streamtest.RunBus(t, b)
	}
	publishEvent(t, newBus(t, rdb, bus.Config{Keys: keys}), "e", "user:u")
	streamtest.WaitFor(t, "the handler", func() bool { return calls.Load() == 1 })
	deadline := time.NewTimer(5 * cfg.ClaimAfter)
	defer deadline.Stop()
	<-deadline.C
	close(goOn)
	streamtest.WaitFor(t, "the acknowledgement", func() bool { return countPending(t, rdb, keys) == 0 })
	if n := calls.Load(); n != 1 {
		t.Errorf("got %d calls, want 1", n)
	}
}

// Each call uses a bus of its own, as another process would.
func TestAnotherProcessFindsDuplicates(t *testing.T) {
	t.Parallel()
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		events := []bus.Event{
			{ID: "1", Type: "a", Account: "user:u", Key: "k", Data: []byte(`{}`)},
			{ID: "2", Type: "a", Data: []byte(`{}`)}, // without an account the type decides the partition
			{ID: "3", Type: "a", Key: "l", Data: []byte(`{}`)},
		}
		for i, want := range []bus.Status{bus.Published, bus.Duplicate} {
			statuses, err := newBus(t, rdb, bus.Config{Keys: keys}).Publish(t.Context(), events...)
			if err != nil {
				t.Fatal(err)
			}
			for n, s := range statuses {
				if s != want {
					t.Errorf("call %d, event %d: got status %v, want %v", i+1, n+1, s, want)
				}
			}
		}
		other := events[0]
		other.ID = "4" // another id, the same key
		statuses, err := newBus(t, rdb, bus.Config{Keys: keys}).Publish(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		if statuses[0] != bus.Duplicate {
			t.Errorf("another id with the same key: got status %v, want Duplicate", statuses[0])
		}
	})
}

// A stream has entries that are not events, and an entry that was handed out too often. They become
// dead letters, and the entry after them is handled.
func TestUnreadableEntriesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	ctx := t.Context()
	stream := keys.Stream(1)
	addEntry := func(values ...string) string {
		id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: values}).Result()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	poison := addEntry("id", "poison", "type", "a", "data", "{}")
	if err := rdb.XGroupCreate(ctx, stream, "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	readArgs := redis.XReadGroupArgs{Group: "g", Consumer: "dead", Streams: []string{stream, ">"}}
	if err := rdb.XReadGroup(ctx, &readArgs).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Do(ctx, "xclaim", stream, "g", "dead", 0, poison, "retrycount", 10, "idle", 3_600_000).Err(); err != nil {
		t.Fatal(err)
	}
	addEntry("no", "event")
	addEntry("id", "x", "type", "a", "seq", "minus one", "data", "{}")
	addEntry("id", "x", "type", "a", "data", "")
	addEntry("id", "x", "type", "\xff", "data", "{}") // not valid as a metric label
	addEntry("no", "event", "subscriber", "\xff")
	addEntry("id", "good", "type", "a", "data", "{}")

	registry := prometheus.NewRegistry()
	cfg := crashConfig(keys)
	cfg.Registerer = registry
	cfg.Logger = slog.New(slog.DiscardHandler)
	b := newBus(t, rdb, cfg)
	got := make(chan string, 10)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
		got <- e.ID
		return nil
	})
	streamtest.RunBus(t, b)
	if id := <-got; id != "good" {
		t.Errorf("got event %s, want good", id)
	}
	listLetters := func() []bus.DeadLetter {
		letters, err := b.DeadLetters().List(ctx, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return letters
	}
	streamtest.WaitFor(t, "six dead letters", func() bool { return len(listLetters()) == 6 })
	for _, l := range listLetters() {
		if l.Error == "" {
			t.Errorf("letter %s: got no error text", l.ID)
		}
		if l.Attempts != 0 {
			t.Errorf("letter %s: got %d attempts, want 0", l.ID, l.Attempts)
		}
		if l.FailedAt.IsZero() {
			t.Errorf("letter %s: got no time of failure", l.ID)
		}
		if len(l.Fields) == 0 {
			t.Errorf("letter %s: got no fields", l.ID)
		}
	}
	// After a replay the entries that are not events become dead letters again. The other one is
	// handled.
	n, err := b.DeadLetters().ReplayAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n != 6 {
		t.Fatalf("got %d replayed letters, want 6", n)
	}
	if id := <-got; id != "poison" {
		t.Errorf("got event %s, want poison", id)
	}
	streamtest.WaitFor(t, "five dead letters", func() bool { return len(listLetters()) == 5 && countPending(t, rdb, keys) == 0 })
	streamtest.WaitFor(t, "the metrics", func() bool { return streamtest.SumMetric(t, registry, "realtime_bus_dead_letters") == 5 })
	if n := rdb.XLen(ctx, keys.Replay(1, "g")).Val(); n != 0 {
		t.Errorf("got %d entries in the replay stream, want 0", n)
	}
}

func TestLagMetricsFollowTheGroup(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	registry := prometheus.NewRegistry()
	b := newBus(t, rdb, bus.Config{
		Keys:        keys,
		Group:       "g",
		MaxInFlight: 8,
		Concurrency: 1,
		Registerer:  registry,
	})
	goOn := make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, _ *bus.Event) error {
		waitInHandler(ctx, goOn)
		return nil
	})
	for i := range 50 {
		publishEvent(t, b, fmt.Sprint(i), fmt.Sprint("user:u", i))
	}
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the lag", func() bool {
		return streamtest.SumMetric(t, registry, "realtime_bus_lag_entries") == 50 && streamtest.SumMetric(t, registry, "realtime_bus_lag_seconds") > 1
	})
	close(goOn)
	streamtest.WaitFor(t, "no lag", func() bool {
		return streamtest.SumMetric(t, registry, "realtime_bus_lag_entries") == 0 && streamtest.SumMetric(t, registry, "realtime_bus_lag_seconds") == 0
	})
}

func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	rdb, keys := openRedis(t)
	registry := prometheus.NewRegistry()
	b := newBus(t, rdb, bus.Config{Keys: keys, Group: "g", Registerer: registry})
	handled := make(chan struct{})
	mustSubscribe(t, b, "s", func(context.Context, *bus.Event) error {
		close(handled)
		return nil
	})
	publishEvent(t, b, "e", "user:u")
	streamtest.RunBus(t, b)
	<-handled
	testenv.CheckMetrics(t, registry, "Subscribers of the bus", "Publishers")
}
