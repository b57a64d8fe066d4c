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
	"github.com/redroomrewards/realtime/pkg/bus"
)

var errFlaky = errors.New("fails now and then")

// TestManyEvents sends many events through four subscriptions of which three fail now and then, two processes' worth of
// consumers: each subscription handles each event exactly once.
func TestManyEvents(t *testing.T) {
	events := 100_000
	if raceEnabled {
		events /= 10
	}
	rdb, keys := groupRedis(t)
	cfg := bus.Config{
		Keys: keys, Group: "g", FirstDelay: time.Millisecond, PauseAfter: -1, Logger: slog.New(slog.DiscardHandler),
	}
	const subscriptions = 4
	worked := make([][]atomic.Int32, subscriptions)
	failed := make([][]atomic.Int32, subscriptions)
	var open atomic.Int64
	open.Store(int64(events * subscriptions))
	for s := range worked {
		worked[s], failed[s] = make([]atomic.Int32, events), make([]atomic.Int32, events)
	}
	for range 2 {
		b := newRedisBus(t, rdb, cfg)
		for s := range subscriptions {
			_, err := b.Subscribe(bus.Subscription{ID: fmt.Sprint("s", s), Priority: 1 + s/2, Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
				n, err := strconv.Atoi(e.ID)
				if err != nil {
					return bus.Permanent(err)
				}
				// Of a hundred events one fails once and one twice, others for each subscription.
				if bad := (n*31 + s*7) % 100; s > 0 && bad < 2 && int(failed[s][n].Load()) <= bad {
					failed[s][n].Add(1)
					return errFlaky
				}
				if worked[s][n].Add(1) == 1 {
					open.Add(-1)
				}
				return nil
			})})
			if err != nil {
				t.Fatal(err)
			}
		}
		streamtest.RunBus(t, b)
	}
	producer := newRedisBus(t, rdb, bus.Config{Keys: keys})
	start := time.Now()
	for from := 0; from < events; from += 500 {
		batch := make([]bus.Event, 500)
		for i := range batch {
			n := from + i
			batch[i] = bus.Event{ID: strconv.Itoa(n), Type: "wallet.balance_updated", Account: fmt.Sprint("user:u", n%997), Data: []byte(`{"version":"1.0"}`)}
		}
		if _, err := producer.Publish(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	streamtest.WaitFor(t, "all events", func() bool { return open.Load() == 0 && pending(t, rdb, keys) == 0 })
	t.Logf("%d events through %d subscriptions in %s", events, subscriptions, time.Since(start))
	for s := range worked {
		for n := range events {
			if w := worked[s][n].Load(); w != 1 {
				t.Fatalf("subscription %d handled event %d %d times", s, n, w)
			}
		}
	}
	for p := range keys.Partitions {
		if n := rdb.XLen(t.Context(), keys.Dead(p, "g")).Val(); n != 0 {
			t.Errorf("%d dead letters in partition %d", n, p)
		}
	}
}

// TestStrictOrder gives each of two consumers its partitions: each account's events are handled in order, by one of them.
func TestStrictOrder(t *testing.T) {
	t.Parallel()
	rdb, keys := groupRedis(t)
	type seen struct {
		consumer int
		last     int
	}
	var mu sync.Mutex
	accounts := map[string]seen{}
	handled := 0
	for c, partitions := range [][]int{{0, 2}, {1, 3}} {
		b := newRedisBus(t, rdb, bus.Config{Keys: keys, Group: "g", Partitions: partitions})
		mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
			n, _ := strconv.Atoi(e.ID)
			mu.Lock()
			defer mu.Unlock()
			handled++
			if was, ok := accounts[e.Account]; ok && (was.consumer != c || was.last >= n) {
				t.Errorf("%s: event %d at consumer %d after %+v", e.Account, n, c, was)
			}
			accounts[e.Account] = seen{c, n}
			return nil
		})
		streamtest.RunBus(t, b)
	}
	producer := newRedisBus(t, rdb, bus.Config{Keys: keys})
	const events = 2000
	for i := range events {
		publishOne(t, producer, strconv.Itoa(i+1), fmt.Sprint("user:u", i%40))
	}
	streamtest.WaitFor(t, "all events", func() bool { mu.Lock(); defer mu.Unlock(); return handled == events })
}

// TestLongHandlerKeepsItsEvent runs a handler for longer than events of a dead consumer wait: nobody takes its event over.
func TestLongHandlerKeepsItsEvent(t *testing.T) {
	t.Parallel()
	rdb, keys := groupRedis(t)
	cfg := crashConfig(keys)
	goOn := make(chan struct{})
	var calls atomic.Int32
	for range 2 {
		b := newRedisBus(t, rdb, cfg)
		mustSubscribe(t, b, "s", func(ctx context.Context, _ *bus.Event) error {
			calls.Add(1)
			hold(ctx, goOn)
			return nil
		})
		streamtest.RunBus(t, b)
	}
	publishOne(t, newRedisBus(t, rdb, bus.Config{Keys: keys}), "e", "user:u")
	streamtest.WaitFor(t, "the handler", func() bool { return calls.Load() == 1 })
	deadline := time.NewTimer(5 * cfg.ClaimAfter)
	defer deadline.Stop()
	<-deadline.C
	close(goOn)
	streamtest.WaitFor(t, "the end", func() bool { return pending(t, rdb, keys) == 0 })
	if n := calls.Load(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// TestDuplicatesInAnotherProcess publishes with a bus and a client of its own what another one has published.
func TestDuplicatesInAnotherProcess(t *testing.T) {
	t.Parallel()
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		events := []bus.Event{
			{ID: "1", Type: "a", Account: "user:u", Key: "k", Data: []byte(`{}`)},
			{ID: "2", Type: "a", Data: []byte(`{}`)}, // no account: it is its type that decides the partition
			{ID: "3", Type: "a", Key: "l", Data: []byte(`{}`)},
		}
		for i, want := range []bus.Status{bus.Published, bus.Duplicate} {
			statuses, err := newRedisBus(t, rdb, bus.Config{Keys: keys}).Publish(t.Context(), events...)
			if err != nil {
				t.Fatal(err)
			}
			for n, s := range statuses {
				if s != want {
					t.Errorf("call %d, event %d: %v, want %v", i+1, n+1, s, want)
				}
			}
		}
		other := events[0]
		other.ID = "4" // another id, the same key
		if s, err := newRedisBus(t, rdb, bus.Config{Keys: keys}).Publish(t.Context(), other); err != nil || s[0] != bus.Duplicate {
			t.Errorf("the same key: %v, %v", s, err)
		}
	})
}

// TestUnreadableEntries puts into a stream what is no event, and an entry that consumers died of: they become dead letters,
// and what comes after them is handled.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	rdb, keys := groupRedis(t)
	ctx := t.Context()
	stream := keys.Stream(1)
	add := func(values ...string) string {
		id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: values}).Result()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	poison := add("id", "poison", "type", "a", "data", "{}")
	if err := rdb.XGroupCreate(ctx, stream, "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "dead", Streams: []string{stream, ">"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Do(ctx, "xclaim", stream, "g", "dead", 0, poison, "retrycount", 10, "idle", 3_600_000).Err(); err != nil {
		t.Fatal(err)
	}
	add("what", "ever")
	add("id", "x", "type", "a", "seq", "minus one", "data", "{}")
	add("id", "x", "type", "a", "data", "")
	add("id", "x", "type", "\xff", "data", "{}") // no metric's label
	add("what", "ever", "subscriber", "\xff")
	add("id", "good", "type", "a", "data", "{}")

	registry := prometheus.NewRegistry()
	cfg := crashConfig(keys)
	cfg.Registerer, cfg.Logger = registry, slog.New(slog.DiscardHandler)
	b := newRedisBus(t, rdb, cfg)
	got := make(chan string, 10)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error { got <- e.ID; return nil })
	streamtest.RunBus(t, b)
	if id := <-got; id != "good" {
		t.Errorf("handled %s", id)
	}
	list := func() []bus.DeadLetter {
		letters, err := b.DeadLetters().List(ctx, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return letters
	}
	streamtest.WaitFor(t, "six dead letters", func() bool { return len(list()) == 6 })
	for _, l := range list() {
		if l.Error == "" || l.Attempts != 0 || l.FailedAt.IsZero() || len(l.Fields) == 0 {
			t.Errorf("letter %+v", l)
		}
	}
	// Replayed, what is no event is a letter again; the one that consumers died of gets its chance.
	if n, err := b.DeadLetters().ReplayAll(ctx); err != nil || n != 6 {
		t.Fatalf("replayed %d, %v", n, err)
	}
	if id := <-got; id != "poison" {
		t.Errorf("handled %s", id)
	}
	streamtest.WaitFor(t, "five dead letters", func() bool { return len(list()) == 5 && pending(t, rdb, keys) == 0 })
	streamtest.WaitFor(t, "the metrics", func() bool { return metricSum(t, registry, "event_dead_letters") == 5 })
	if n := rdb.XLen(ctx, keys.Replay(1, "g")).Val(); n != 0 {
		t.Errorf("%d replayed entries are left", n)
	}
}

// TestLag measures what a group has not handled.
func TestLag(t *testing.T) {
	t.Parallel()
	rdb, keys := groupRedis(t)
	registry := prometheus.NewRegistry()
	b := newRedisBus(t, rdb, bus.Config{Keys: keys, Group: "g", MaxInFlight: 8, Concurrency: 1, Registerer: registry})
	goOn := make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, _ *bus.Event) error { hold(ctx, goOn); return nil })
	for i := range 50 {
		publishOne(t, b, fmt.Sprint(i), fmt.Sprint("user:u", i))
	}
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the lag", func() bool {
		return metricSum(t, registry, "event_lag_entries") == 50 && metricSum(t, registry, "event_lag_seconds") > 1
	})
	close(goOn)
	streamtest.WaitFor(t, "no lag", func() bool {
		return metricSum(t, registry, "event_lag_entries") == 0 && metricSum(t, registry, "event_lag_seconds") == 0
	})
}

// metricSum is the sum of a gauge's or a counter's values.
func metricSum(t *testing.T, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}
