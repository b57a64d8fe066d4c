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

// afterPipeline is a client's hook. It is called after Redis has answered a pipeline, and before
// the client gets the answer.
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

// The group is set back after Redis has an acknowledgement and before the bus gets the reply. Redis
// hands the entry out again while the bus still has it in flight. The bus must acknowledge it again
// instead of leaving it to a claim.
func TestEntryHandedOutDuringItsAcknowledgementIsAcknowledgedAgain(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 1}
	publish := func(id string) {
		publishEvent(t, newBus(t, rdb, bus.Config{Keys: keys}), id, "user:u")
	}
	acknowledged := make(chan struct{})
	goOn := make(chan struct{})
	resume := sync.OnceFunc(func() { close(goOn) })
	late := streamtest.Open(t, url)
	var once sync.Once
	late.AddHook(afterPipeline(func(cmds []redis.Cmder) {
		if hasCommand(cmds, "xack") {
			once.Do(func() { close(acknowledged) })
			<-goOn
		}
	}))
	b := newBus(t, late, bus.Config{Keys: keys, Group: "g", ClaimAfter: time.Hour})
	handled := make(chan string, 3)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
		handled <- e.ID
		return nil
	})
	streamtest.RunBus(t, b)
	t.Cleanup(resume)

	publish("first")
	<-acknowledged
	err := rdb.XGroupSetID(t.Context(), keys.Stream(0), "g", "0").Err()
	if err != nil {
		t.Fatal(err)
	}
	publish("second") // the bus reads the first entry again before this one
	if id := <-handled; id != "first" {
		t.Fatalf("got event %s, want first", id)
	}
	if id := <-handled; id != "second" {
		t.Fatalf("got event %s, want second", id)
	}
	resume()
	streamtest.WaitFor(t, "all acknowledgements", func() bool { return countPending(t, rdb, keys) == 0 })
}

// An entry is acknowledged after the bus has read the pending entries of its consumer and before it
// starts them.
func TestEntryAcknowledgedBeforeReadmissionIsNotHandled(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 1}
	for _, id := range []string{"first", "second"} {
		publishEvent(t, newBus(t, rdb, bus.Config{Keys: keys}), id, "user:u")
	}
	err := rdb.XGroupCreate(t.Context(), keys.Stream(0), "g", "0").Err()
	if err != nil {
		t.Fatal(err)
	}
	read, err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group:    "g",
		Consumer: "c",
		Streams:  []string{keys.Stream(0), ">"},
	}).Result()
	if err != nil {
		t.Fatal(err)
	}
	first := read[0].Messages[0].ID
	hooked := streamtest.Open(t, url)
	hooked.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		if hasCommand(cmds, "smembers") {
			return rdb.XAck(t.Context(), keys.Stream(0), "g", first).Err()
		}
		return nil
	}))
	b := newBus(t, hooked, bus.Config{Keys: keys, Group: "g", Consumer: "c", ClaimAfter: time.Hour})
	handled := make(chan string, 2)
	mustSubscribe(t, b, "s", func(_ context.Context, e *bus.Event) error {
		handled <- e.ID
		return nil
	})
	streamtest.RunBus(t, b)
	if id := <-handled; id != "second" {
		t.Errorf("got event %s, want second, since first was acknowledged", id)
	}
	streamtest.WaitFor(t, "all acknowledgements", func() bool { return countPending(t, rdb, keys) == 0 })
}
