package consumer_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// afterPipeline is a client's hook: what was sent and answered is known to the client when f returns.
type afterPipeline func(cmds []redis.Cmder)

func (afterPipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (afterPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f afterPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		f(cmds)
		return err
	}
}

// TestHandedOutWhileAcknowledged sets a group back when Redis has an acknowledgement and the bus does not know yet: the
// entry that is handed out again, and looks as if it was under way, is not left until somebody claims it.
func TestHandedOutWhileAcknowledged(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, keys := streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 1}
	publish := func(id string) { publishOne(t, newRedisBus(t, rdb, bus.Config{Keys: keys}), id, "user:u") }
	acknowledged, goOn := make(chan struct{}), make(chan struct{})
	resume := sync.OnceFunc(func() { close(goOn) })
	late := streamtest.Open(t, url)
	var once sync.Once
	late.AddHook(afterPipeline(func(cmds []redis.Cmder) {
		if has(cmds, "xack") {
			once.Do(func() { close(acknowledged) })
			<-goOn
		}
	}))
	b := newRedisBus(t, late, bus.Config{Keys: keys, Group: "g", ClaimAfter: time.Hour})
	handled := make(chan string, 3)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error { handled <- e.ID; return nil })
	streamtest.RunBus(t, b)
	t.Cleanup(resume)
	publish("first")
	<-acknowledged
	if err := rdb.XGroupSetID(t.Context(), keys.Stream(0), "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	publish("second") // the bus has been handed the first one again when it handles this one
	if got := [2]string{<-handled, <-handled}; got != [2]string{"first", "second"} {
		t.Fatal(got)
	}
	resume()
	streamtest.WaitFor(t, "all is acknowledged", func() bool { return pending(t, rdb, keys) == 0 })
}

// TestAcknowledgedBeforeReadmitted acknowledges an entry between the bus' look at what its consumer had before and its
// start: nobody handles it once more.
func TestAcknowledgedBeforeReadmitted(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb, keys := streamtest.Open(t, url), bus.Keys{Namespace: namespace, Partitions: 1}
	for _, id := range []string{"first", "second"} {
		publishOne(t, newRedisBus(t, rdb, bus.Config{Keys: keys}), id, "user:u")
	}
	if err := rdb.XGroupCreate(t.Context(), keys.Stream(0), "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	read := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{keys.Stream(0), ">"}})
	if read.Err() != nil {
		t.Fatal(read.Err())
	}
	first := read.Val()[0].Messages[0].ID
	again := streamtest.Open(t, url)
	again.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if has(cmds, "smembers") {
			return rdb.XAck(t.Context(), keys.Stream(0), "g", first).Err()
		}
		return nil
	}))
	b := newRedisBus(t, again, bus.Config{Keys: keys, Group: "g", Consumer: "c", ClaimAfter: time.Hour})
	handled := make(chan string, 2)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error { handled <- e.ID; return nil })
	streamtest.RunBus(t, b)
	if id := <-handled; id != "second" {
		t.Errorf("%s was handled, though it was acknowledged", id)
	}
	streamtest.WaitFor(t, "all is acknowledged", func() bool { return pending(t, rdb, keys) == 0 })
}
