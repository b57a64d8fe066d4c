package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatchtest"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// With these variables the test's program runs as the consumer that is killed.
const (
	consumerRedis     = "BUS_TEST_CONSUMER_REDIS"
	consumerNamespace = "BUS_TEST_CONSUMER_NAMESPACE"
)

func crashConfig(keys bus.Keys) bus.Config {
	return bus.Config{
		Keys:       keys,
		Group:      "g",
		ClaimAfter: 300 * time.Millisecond,
		FirstDelay: time.Millisecond,
	}
}

func journalKey(keys bus.Keys) string { return keys.Namespace + ":journal" }

// runVictim is the process that is killed. Its first subscription handles an event. The second one
// starts to handle it and never ends.
func runVictim(url, namespace string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	rdb, err := redisconn.Open(url)
	if err != nil {
		panic(err)
	}
	b, err := consumer.New(rdb, crashConfig(keys))
	if err != nil {
		panic(err)
	}
	subscribe := func(id string, priority int, block bool) {
		handler := func(ctx context.Context, e *bus.Event) error {
			err := rdb.RPush(ctx, journalKey(keys), id+" "+e.ID).Err()
			if err != nil || !block {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		_, err := b.Subscribe(bus.Subscription{ID: id, Priority: priority, Handler: bus.HandlerFunc(handler)})
		if err != nil {
			panic(err)
		}
	}
	subscribe("first", 1, false)
	subscribe("second", 2, true)
	fmt.Println(b.Run(ctx))
}

// A process is killed with kill -9 while a handler runs. Another process handles the event, without
// the subscription that was done with it.
func TestAnotherConsumerHandlesTheEventsOfAKilledOne(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	env := []string{consumerRedis + "=" + url, consumerNamespace + "=" + namespace}
	victim := testenv.StartProcess(t, t.TempDir(), os.Args[0], nil, env)
	b := newBus(t, rdb, crashConfig(keys))
	const events = 20
	for i := range events {
		publishEvent(t, b, fmt.Sprint("e", i), fmt.Sprint("user:u", i))
	}
	countCalls := func(subscription string) (n int) {
		for _, line := range rdb.LRange(t.Context(), journalKey(keys), 0, -1).Val() {
			if strings.HasPrefix(line, subscription+" ") {
				n++
			}
		}
		return n
	}
	countMarkers := func() int { return len(rdb.Keys(t.Context(), namespace+":*:done:g:*").Val()) }
	// Some accounts share a worker, so fewer handlers of the second subscription run than there are
	// events.
	streamtest.WaitFor(t, "the victim's handlers and markers", func() bool {
		return countCalls("second") > 1 && countMarkers() == events
	})
	victim.Kill()
	if n := countCalls("first"); n != events {
		t.Fatalf("got %d calls of the first subscription, want %d", n, events)
	}

	var mu sync.Mutex
	calls := map[string]int{} // by subscription and event
	for _, id := range []string{"first", "second"} {
		mustSubscribe(t, b, id, func(_ context.Context, e *bus.Event) error {
			mu.Lock()
			defer mu.Unlock()
			calls[id+" "+e.ID]++
			return nil
		})
	}
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the remaining events", func() bool { return countPending(t, rdb, keys) == 0 })
	mu.Lock()
	defer mu.Unlock()
	for i := range events {
		if n := calls[fmt.Sprint("first e", i)]; n != 0 {
			t.Errorf("e%d: got %d calls of the subscription that was done with it, want 0", i, n)
		}
		if n := calls[fmt.Sprint("second e", i)]; n != 1 {
			t.Errorf("e%d: got %d calls of the subscription that was interrupted, want 1", i, n)
		}
	}
	if n := countMarkers(); n != 0 {
		t.Errorf("got %d done markers, want 0", n)
	}
}

// countPending counts the entries that the group has not acknowledged or not read.
func countPending(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) (n int64) {
	t.Helper()
	for p := range keys.Partitions {
		groups, err := rdb.XInfoGroups(t.Context(), keys.Stream(p)).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			n += g.Pending + g.Lag
		}
	}
	return n
}

func publishEvent(t *testing.T, b bus.Bus, id, account string) {
	t.Helper()
	statuses, err := b.Publish(t.Context(), bus.Event{ID: id, Type: "a", Account: account, Data: []byte(`{}`)})
	if err != nil {
		t.Fatalf("publish %s: %v", id, err)
	}
	if statuses[0] != bus.Published {
		t.Fatalf("publish %s: got status %v, want Published", id, statuses[0])
	}
}

func mustSubscribe(t *testing.T, b bus.Bus, id string, f bus.HandlerFunc) {
	t.Helper()
	_, err := b.Subscribe(bus.Subscription{ID: id, Handler: f})
	if err != nil {
		t.Fatal(err)
	}
}

// Redis is killed while events are handled, and starts again. If it kept its data, each event is
// handled once, since no consumer died. If it lost its data, the group is created again.
func TestConsumerContinuesAfterARedisRestart(t *testing.T) {
	t.Parallel()
	t.Run("with its data", func(t *testing.T) {
		t.Parallel()
		testRestart(t, true, "--appendonly", "yes", "--appendfsync", "always")
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		testRestart(t, false)
	})
}

func testRestart(t *testing.T, keepsData bool, args ...string) {
	server := testenv.RedisServer(t, args...)
	rdb := streamtest.Open(t, server.URL())
	keys := bus.Keys{Namespace: "t", Partitions: 4}
	cfg := crashConfig(keys)
	cfg.MaxInFlight = 16
	cfg.ClaimAfter = time.Minute // entries of a lost reply must not wait for a claim
	b := newBus(t, rdb, cfg)
	var mu sync.Mutex
	handled := map[string]int{}
	reachedHalf := make(chan struct{})
	goOn := make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, e *bus.Event) error {
		mu.Lock()
		handled[e.ID]++
		n := len(handled)
		mu.Unlock()
		if n == 50 {
			close(reachedHalf)
			waitInHandler(ctx, goOn)
		}
		return nil
	})
	streamtest.RunBus(t, b)
	const events = 200
	for i := range events {
		publishEvent(t, b, fmt.Sprint("e", i), fmt.Sprint("user:u", i%17))
	}

	<-reachedHalf
	server.Kill()
	_, err := b.Publish(t.Context(), bus.Event{ID: "lost", Type: "a", Data: []byte(`{}`)})
	if err == nil {
		t.Error("publish without Redis: got no error")
	}
	if errors.Is(err, bus.ErrInvalidEvent) {
		t.Errorf("publish without Redis: got error %v, want an error of the connection", err)
	}
	close(goOn)
	server.Start()
	publishEvent(t, b, "after", "user:u")
	countCalls := func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return handled[id]
	}
	streamtest.WaitFor(t, "the event after the restart", func() bool { return countCalls("after") > 0 })
	if !keepsData {
		return
	}
	streamtest.WaitFor(t, "all events", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == events+1
	})
	streamtest.WaitFor(t, "all acknowledgements", func() bool { return countPending(t, rdb, keys) == 0 })
	for i := range events {
		if n := countCalls(fmt.Sprint("e", i)); n != 1 {
			t.Errorf("e%d: got %d calls, want 1", i, n)
		}
	}
}

// An entry is not an event. Writing its dead letter fails for a while, and connections break
// meanwhile.
func TestEntryBecomesOneDeadLetterAfterRetries(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	rdb := streamtest.Open(t, server.URL())
	keys := bus.Keys{Namespace: "t", Partitions: 1}
	var refuse atomic.Bool
	refuse.Store(true)
	refusing := streamtest.Open(t, server.URL())
	refusing.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if refuse.Load() && hasCommand(cmds, "xadd") {
			return errors.New("refused")
		}
		return nil
	}))
	b := newBus(t, refusing, bus.Config{Keys: keys, Group: "g", Logger: slog.New(slog.DiscardHandler)})
	streamtest.RunBus(t, b)
	ctx := t.Context()
	err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Stream(0), Values: []string{"no", "event"}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	countReads := func() int64 {
		pending := rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: keys.Stream(0), Group: "g", Start: "-", End: "+", Count: 1}).Val()
		if len(pending) == 0 {
			return 0
		}
		return pending[0].RetryCount
	}
	streamtest.WaitFor(t, "the first read", func() bool { return countReads() == 1 })
	streamtest.WaitFor(t, "the second read", func() bool {
		err := rdb.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err()
		return err == nil && countReads() > 1
	})
	refuse.Store(false)
	streamtest.WaitFor(t, "the dead letter", func() bool { return countPending(t, rdb, keys) == 0 })
	err = b.Close(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := rdb.XLen(ctx, keys.Dead(0, "g")).Val(); n != 1 {
		t.Errorf("got %d dead letters, want 1", n)
	}
}

// A bus is closed while it acknowledges. Events that are handled meanwhile must be acknowledged
// too.
func TestCloseWritesTheLastAcknowledgements(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	reached := make(chan struct{}, 10)
	goOn := make(chan struct{})
	resume := sync.OnceFunc(func() { close(goOn) })
	slow := streamtest.Open(t, url)
	slow.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if hasCommand(cmds, "xack") {
			reached <- struct{}{}
			<-goOn
		}
		return nil
	}))
	b := newBus(t, slow, bus.Config{Keys: keys, Group: "g", Logger: slog.New(slog.DiscardHandler)})
	started := make(chan string, 3)
	endSecond := make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, e *bus.Event) error {
		started <- e.ID
		switch e.ID {
		case "2":
			waitInHandler(ctx, endSecond)
		case "3":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	streamtest.RunBus(t, b)
	t.Cleanup(resume)
	accounts := dispatchtest.Accounts(3)
	for i, id := range []string{"3", "2", "1"} {
		publishEvent(t, newBus(t, rdb, bus.Config{Keys: keys}), id, accounts[i])
		<-started
	}
	<-reached
	close(endSecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := b.Close(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close while a handler hangs: got error %v, want DeadlineExceeded", err)
	}
	resume()
	streamtest.WaitFor(t, "the acknowledgements of handled events", func() bool { return countPending(t, rdb, keys) == 1 })
}
