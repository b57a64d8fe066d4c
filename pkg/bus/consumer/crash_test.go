package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
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
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// The test's own program is the consumer that is killed: these variables make it one.
const (
	consumerRedis     = "BUS_TEST_CONSUMER_REDIS"
	consumerNamespace = "BUS_TEST_CONSUMER_NAMESPACE"
)

func crashConfig(keys bus.Keys) bus.Config {
	return bus.Config{Keys: keys, Group: "g", ClaimAfter: 300 * time.Millisecond, FirstDelay: time.Millisecond}
}

func journalKey(keys bus.Keys) string { return keys.Namespace + ":journal" }

// consume is the process that is killed: one subscription handles an event, the next one starts to and never ends.
func consume(url, namespace string) {
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
	journal := func(what string, priority int, block bool) {
		_, err := b.Subscribe(bus.Subscription{ID: what, Priority: priority, Handler: bus.HandlerFunc(func(ctx context.Context, e *bus.Event) error {
			if err := rdb.RPush(ctx, journalKey(keys), what+" "+e.ID).Err(); err != nil || !block {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})})
		if err != nil {
			panic(err)
		}
	}
	journal("first", 1, false)
	journal("second", 2, true)
	fmt.Println(b.Run(ctx))
}

// TestKilledConsumer kills a process with kill -9 in the middle of a handler: another one handles the event, without the
// subscription that was through with it.
func TestKilledConsumer(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, keys := streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4}
	victim := testenv.StartProcess(t, t.TempDir(), os.Args[0], nil, []string{consumerRedis + "=" + url, consumerNamespace + "=" + namespace})
	b := newRedisBus(t, rdb, crashConfig(keys))
	const events = 20
	for i := range events {
		publishOne(t, b, fmt.Sprint("e", i), fmt.Sprint("user:u", i))
	}
	count := func(what string) (n int) {
		for _, line := range rdb.LRange(t.Context(), journalKey(keys), 0, -1).Val() {
			if strings.HasPrefix(line, what+" ") {
				n++
			}
		}
		return n
	}
	markers := func() int { return len(rdb.Keys(t.Context(), namespace+":*:done:g:*").Val()) }
	// Some accounts share a lane, so fewer handlers of the second subscription run than there are events.
	streamtest.WaitFor(t, "the victim's handlers and markers", func() bool { return count("second") > 1 && markers() == events })
	victim.Kill()
	if n := count("first"); n != events {
		t.Fatalf("the first subscription ran %d times for %d events", n, events)
	}

	var mu sync.Mutex
	again := map[string]int{}
	for _, id := range []string{"first", "second"} {
		mustSubscribe(t, b, id, func(_ context.Context, e *bus.Event) error {
			mu.Lock()
			defer mu.Unlock()
			again[id+" "+e.ID]++
			return nil
		})
	}
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the other process handles what is left", func() bool { return pending(t, rdb, keys) == 0 })
	mu.Lock()
	defer mu.Unlock()
	for i := range events {
		if n := again[fmt.Sprint("first e", i)]; n != 0 {
			t.Errorf("e%d: the subscription that was through with it ran again", i)
		}
		if n := again[fmt.Sprint("second e", i)]; n != 1 {
			t.Errorf("e%d: the subscription that was interrupted ran %d times", i, n)
		}
	}
	if n := markers(); n != 0 {
		t.Errorf("%d markers are left", n)
	}
}

// pending counts what the group has and has not acknowledged, and what it has not been given.
func pending(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) (n int64) {
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

func publishOne(t *testing.T, b bus.Bus, id, account string) {
	t.Helper()
	statuses, err := b.Publish(t.Context(), bus.Event{ID: id, Type: "a", Account: account, Data: []byte(`{}`)})
	if err != nil || statuses[0] != bus.Published {
		t.Fatalf("publish %s: %v, %v", id, statuses, err)
	}
}

func mustSubscribe(t *testing.T, b bus.Bus, id string, f bus.HandlerFunc) {
	t.Helper()
	if _, err := b.Subscribe(bus.Subscription{ID: id, Handler: f}); err != nil {
		t.Fatal(err)
	}
}

// TestRedisRestarted kills Redis in the middle and starts it again, with what it had: each event is handled once, since no
// consumer died. Then it comes back empty: the group is made again and goes on.
func TestRedisRestarted(t *testing.T) {
	t.Parallel()
	t.Run("with its data", func(t *testing.T) {
		t.Parallel()
		restart(t, true, "--appendonly", "yes", "--appendfsync", "always")
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		restart(t, false)
	})
}

func restart(t *testing.T, keeps bool, args ...string) {
	server := testenv.RedisServer(t, args...)
	rdb, keys := streamtest.Open(t, server.URL()), bus.Keys{Namespace: "t", Partitions: 4}
	cfg := crashConfig(keys)
	cfg.MaxInFlight, cfg.ClaimAfter = 16, time.Minute // what is lost with a connection must not wait for a claim
	b := newRedisBus(t, rdb, cfg)
	var mu sync.Mutex
	handled := map[string]int{}
	half, goOn := make(chan struct{}), make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, e *bus.Event) error {
		mu.Lock()
		handled[e.ID]++
		n := len(handled)
		mu.Unlock()
		if n == 50 {
			close(half)
			hold(ctx, goOn)
		}
		return nil
	})
	streamtest.RunBus(t, b)
	const events = 200
	for i := range events {
		publishOne(t, b, fmt.Sprint("e", i), fmt.Sprint("user:u", i%17))
	}
	<-half
	server.Kill()
	if _, err := b.Publish(t.Context(), bus.Event{ID: "lost", Type: "a", Data: []byte(`{}`)}); err == nil || errors.Is(err, bus.ErrInvalidEvent) {
		t.Errorf("publish without Redis: %v", err)
	}
	close(goOn)
	server.Start()
	publishOne(t, b, "after", "user:u")
	seen := func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return handled[id]
	}
	streamtest.WaitFor(t, "the event after the restart", func() bool { return seen("after") > 0 })
	if !keeps {
		return
	}
	streamtest.WaitFor(t, "all events", func() bool { return pending(t, rdb, keys) == 0 })
	for i := range events {
		if n := seen(fmt.Sprint("e", i)); n != 1 {
			t.Errorf("e%d was handled %d times", i, n)
		}
	}
}

// TestLostAnswers cuts connections after Redis acted and before the answer came. What was published is told so, not a
// duplicate of itself; what was read is read again.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	direct, keys := streamtest.Open(t, server.URL()), bus.Keys{Namespace: "t", Partitions: 4}
	const events = 30
	batch := make([]bus.Event, events)
	for i := range batch {
		batch[i] = bus.Event{ID: fmt.Sprint("e", i), Key: fmt.Sprint("k", i), Type: "a", Account: fmt.Sprint("user:u", i), Data: []byte(`{}`)}
	}

	proxy := testenv.NewProxy(t, server.Addr())
	producer := newRedisBus(t, streamtest.Open(t, "redis://"+proxy.Addr()), bus.Config{Keys: keys})
	publishOne(t, producer, "before", "user:u") // the script is known, and there is a connection
	proxy.PauseReplies()
	type answer struct {
		statuses []bus.Status
		err      error
	}
	published := make(chan answer, 1)
	go func() {
		statuses, err := producer.Publish(context.WithoutCancel(t.Context()), batch...)
		published <- answer{statuses, err}
	}()
	length := func() (n int64) {
		for p := range keys.Partitions {
			n += direct.XLen(t.Context(), keys.Stream(p)).Val()
		}
		return n
	}
	streamtest.WaitFor(t, "the events in the streams", func() bool { return length() == events+1 })
	proxy.Cut()
	proxy.Resume()
	got := <-published
	if got.err != nil {
		t.Fatal(got.err)
	}
	for i, s := range got.statuses {
		if s != bus.Published {
			t.Errorf("event %d: %v, though this call published it", i, s)
		}
	}
	if n := length(); n != events+1 {
		t.Errorf("%d entries", n)
	}

	cfg := crashConfig(keys)
	cfg.ClaimAfter = time.Minute // far longer than this may take
	var handled atomic.Int32
	b := newRedisBus(t, streamtest.Open(t, "redis://"+proxy.Addr()), cfg)
	mustSubscribe(t, b, "s", func(context.Context, *bus.Event) error { handled.Add(1); return nil })
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the first events", func() bool { return handled.Load() == events+1 && pending(t, direct, keys) == 0 })
	proxy.PauseReplies()
	publishOne(t, newRedisBus(t, direct, bus.Config{Keys: keys}), "after", "user:u")
	streamtest.WaitFor(t, "the event in the reply that is held back", func() bool {
		n := direct.XPending(t.Context(), keys.Stream(keys.Partition("user:u")), "g").Val()
		return n != nil && n.Count == 1
	})
	proxy.Cut()
	proxy.Resume()
	streamtest.WaitFor(t, "the event of the lost reply", func() bool { return handled.Load() == events+2 && pending(t, direct, keys) == 0 })
}

// beforePipeline is a client's hook: what it answers with an error is not sent. It may wait.
type beforePipeline func(cmds []redis.Cmder) error

func (beforePipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (beforePipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f beforePipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := f(cmds); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

func has(cmds []redis.Cmder, name string) bool {
	return slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == name })
}

// TestLetterThatWaits has a dead letter refused for a while, and connections break meanwhile: what is no event becomes one
// letter.
func TestLetterThatWaits(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	rdb, keys := streamtest.Open(t, server.URL()), bus.Keys{Namespace: "t", Partitions: 1}
	var refuse atomic.Bool
	refuse.Store(true)
	slow := streamtest.Open(t, server.URL())
	slow.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if refuse.Load() && has(cmds, "xadd") {
			return errors.New("refused")
		}
		return nil
	}))
	b := newRedisBus(t, slow, bus.Config{Keys: keys, Group: "g", Logger: slog.New(slog.DiscardHandler)})
	streamtest.RunBus(t, b)
	ctx := t.Context()
	if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: keys.Stream(0), Values: []string{"what", "ever"}}).Err(); err != nil {
		t.Fatal(err)
	}
	reads := func() int64 {
		list := rdb.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: keys.Stream(0), Group: "g", Start: "-", End: "+", Count: 1}).Val()
		if len(list) == 0 {
			return 0
		}
		return list[0].RetryCount
	}
	streamtest.WaitFor(t, "the entry is read", func() bool { return reads() == 1 })
	streamtest.WaitFor(t, "it is read again", func() bool {
		return rdb.Do(ctx, "client", "kill", "type", "normal", "skipme", "yes").Err() == nil && reads() > 1
	})
	refuse.Store(false)
	streamtest.WaitFor(t, "the letter", func() bool { return pending(t, rdb, keys) == 0 })
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := rdb.XLen(ctx, keys.Dead(0, "g")).Val(); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// TestLastAcknowledgement closes a bus while it acknowledges: what was handled meanwhile is acknowledged too.
func TestLastAcknowledgement(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, keys := streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 4}
	reached, goOn := make(chan struct{}, 10), make(chan struct{})
	resume := sync.OnceFunc(func() { close(goOn) })
	slow := streamtest.Open(t, url)
	slow.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if has(cmds, "xack") {
			reached <- struct{}{}
			<-goOn
		}
		return nil
	}))
	b := newRedisBus(t, slow, bus.Config{Keys: keys, Group: "g", Logger: slog.New(slog.DiscardHandler)})
	started, second := make(chan string, 3), make(chan struct{})
	mustSubscribe(t, b, "s", func(ctx context.Context, e *bus.Event) error {
		started <- e.ID
		switch e.ID {
		case "2":
			hold(ctx, second)
		case "3":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	streamtest.RunBus(t, b)
	t.Cleanup(resume)
	for _, id := range []string{"3", "2", "1"} {
		publishOne(t, newRedisBus(t, rdb, bus.Config{Keys: keys}), id, "user:u"+id)
		<-started
	}
	<-reached
	close(second)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close while a handler hangs: %v", err)
	}
	resume()
	streamtest.WaitFor(t, "all that was handled is acknowledged", func() bool { return pending(t, rdb, keys) == 1 })
}
