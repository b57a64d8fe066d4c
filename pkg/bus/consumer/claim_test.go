package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// beforeCommand is a client's hook. It is called before a command that is not in a pipeline.
type beforeCommand func(cmd redis.Cmder)

func (beforeCommand) DialHook(next redis.DialHook) redis.DialHook { return next }

func (beforeCommand) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f beforeCommand) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f(cmd)
		return next(ctx, cmd)
	}
}

// The claims of all streams are one pipeline, whatever the number of partitions. A stream with more
// entries than one call claims is claimed completely.
func TestClaimsOfAllStreamsShareRoundTrips(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace}.WithDefaults()

	// A process that died has all entries of one account, and one entry of some others.
	const events = 250
	var batch []bus.Event
	for i := range events {
		batch = append(batch, bus.Event{ID: fmt.Sprint("busy", i), Type: "a", Account: "user:busy", Data: []byte(`{}`)})
		batch = append(batch, bus.Event{ID: fmt.Sprint("e", i), Type: "a", Account: fmt.Sprint("user:", i), Data: []byte(`{}`)})
	}
	_, err := newBus(t, rdb, bus.Config{Keys: keys}).Publish(t.Context(), batch...)
	if err != nil {
		t.Fatal(err)
	}
	for p := range keys.Partitions {
		stream := keys.Stream(p)
		rdb.XGroupCreateMkStream(t.Context(), stream, "g", "0")
		err := rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group:    "g",
			Consumer: "dead",
			Streams:  []string{stream, ">"},
			Count:    2 * events,
			Block:    -1,
		}).Err()
		if err != nil && err != redis.Nil { //nolint:errorlint // go-redis does not wrap it
			t.Fatal(err)
		}
	}

	counting := streamtest.Open(t, url)
	var largest, single atomic.Int64
	counting.AddHook(beforePipeline(func(cmds []redis.Cmder) error {
		claims := int64(0)
		for _, cmd := range cmds {
			if strings.EqualFold(cmd.Name(), "xautoclaim") {
				claims++
			}
		}
		if claims > largest.Load() {
			largest.Store(claims)
		}
		return nil
	}))
	counting.AddHook(beforeCommand(func(cmd redis.Cmder) {
		if strings.EqualFold(cmd.Name(), "xautoclaim") {
			single.Add(1)
		}
	}))
	b := newBus(t, counting, bus.Config{Keys: keys, Group: "g", ClaimAfter: 100 * time.Millisecond})
	var handled atomic.Int64
	mustSubscribe(t, b, "s", func(context.Context, *bus.Event) error {
		handled.Add(1)
		return nil
	})
	streamtest.RunBus(t, b)
	streamtest.WaitFor(t, "all claimed events are acknowledged", func() bool {
		return handled.Load() >= 2*events && countPending(t, rdb, keys) == 0
	})
	if got := largest.Load(); got != int64(keys.Partitions) {
		t.Errorf("got at most %d claims in one pipeline, want %d", got, keys.Partitions)
	}
	if got := single.Load(); got != 0 {
		t.Errorf("got %d claims with a round trip of their own, want none", got)
	}
}
