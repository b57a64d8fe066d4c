package consumer_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// A connection is cut after Redis has published the events and before its reply arrives. The
// repeated call must answer Published, and not report the events as duplicates of themselves.
func TestPublishAnswersPublishedAfterALostReply(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{Namespace: "t", Partitions: 4}
	const events = 30
	batch := make([]bus.Event, events)
	for i := range batch {
		batch[i] = bus.Event{
			ID:      fmt.Sprint("e", i),
			Key:     fmt.Sprint("k", i),
			Type:    "a",
			Account: fmt.Sprint("user:u", i),
			Data:    []byte(`{}`),
		}
	}
	proxy := testenv.NewProxy(t, server.Addr())
	producer := newBus(t, streamtest.Open(t, "redis://"+proxy.Addr()), bus.Config{Keys: keys})
	publishEvent(t, producer, "before", "user:u") // opens a connection and loads the script

	proxy.PauseReplies()
	type publishResult struct {
		statuses []bus.Status
		err      error
	}
	published := make(chan publishResult, 1)
	go func() {
		statuses, err := producer.Publish(context.WithoutCancel(t.Context()), batch...)
		published <- publishResult{statuses, err}
	}()
	countEntries := func() (n int64) {
		for p := range keys.Partitions {
			n += direct.XLen(t.Context(), keys.Stream(p)).Val()
		}
		return n
	}
	streamtest.WaitFor(t, "the events in the streams", func() bool { return countEntries() == events+1 })
	proxy.Cut()
	proxy.Resume()

	result := <-published
	if result.err != nil {
		t.Fatal(result.err)
	}
	for i, s := range result.statuses {
		if s != bus.Published {
			t.Errorf("event %d: got status %v, want Published", i, s)
		}
	}
	if n := countEntries(); n != events+1 {
		t.Errorf("got %d entries, want %d", n, events+1)
	}
}

// A connection is cut after Redis has handed out an entry and before its reply arrives.
func TestEntryOfALostReplyIsReadAgain(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{Namespace: "t", Partitions: 4}
	producer := newBus(t, direct, bus.Config{Keys: keys})
	const events = 30
	for i := range events {
		publishEvent(t, producer, fmt.Sprint("e", i), fmt.Sprint("user:u", i))
	}

	proxy := testenv.NewProxy(t, server.Addr())
	cfg := crashConfig(keys)
	cfg.ClaimAfter = time.Minute // far longer than the test
	var handled atomic.Int32
	b := newBus(t, streamtest.Open(t, "redis://"+proxy.Addr()), cfg)
	mustSubscribe(t, b, "s", func(context.Context, *bus.Event) error {
		handled.Add(1)
		return nil
	})
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "the first events", func() bool {
		return handled.Load() == events && countPending(t, direct, keys) == 0
	})

	proxy.PauseReplies()
	publishEvent(t, producer, "after", "user:u")
	streamtest.WaitFor(t, "the event in a paused reply", func() bool {
		n := direct.XPending(t.Context(), keys.Stream(keys.Partition("user:u")), "g").Val()
		return n != nil && n.Count == 1
	})
	proxy.Cut()
	proxy.Resume()
	streamtest.WaitFor(t, "the event of the lost reply", func() bool {
		return handled.Load() == events+1 && countPending(t, direct, keys) == 0
	})
}

// beforePipeline is a client's hook. It is called before a pipeline is sent, and may wait. If it
// returns an error, the pipeline is not sent.
type beforePipeline func(cmds []redis.Cmder) error

func (beforePipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (beforePipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f beforePipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := f(cmds)
		if err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// hasCommand reports whether one of the commands has the name.
func hasCommand(cmds []redis.Cmder, name string) bool {
	return slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == name })
}
