package relay_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// readWatermark returns a partition's watermark, or the zero time if there is none.
func readWatermark(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, partition int) time.Time {
	t.Helper()
	ms, err := strconv.ParseInt(rdb.Get(t.Context(), keys.Relayed(partition)).Val(), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// waitForWatermarks waits until the watermarks of all partitions are later than after.
func waitForWatermarks(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, after time.Time) {
	t.Helper()
	for i := range keys.Partitions {
		streamtest.WaitFor(t, "a later watermark", func() bool { return readWatermark(t, rdb, keys, i).After(after) })
	}
}

// backdateChange sets the time of the account's last change, and the watermark of its partition to
// a minute later.
func backdateChange(t testing.TB, src *memorySource, rdb redis.UniversalClient, keys bus.Keys, account string, changed time.Time) {
	t.Helper()
	src.mu.Lock()
	src.changed[account] = changed
	src.mu.Unlock()
	if err := rdb.Set(t.Context(), keys.Relayed(keys.Partition(account)), changed.Add(time.Minute).UnixMilli(), 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// All processes stop for longer than Quiet, and Redis restarts without its last writes.
func TestRelayRepairsAQuietAccountAfterALongStop(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		r, stop := startRelay(t, src, rdb, keys, relay.Config{})
		for range 20 {
			src.commitAndOffer(r, 2, "user:a")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForWatermarks(t, rdb, keys, time.Time{})
		stop()
		loseEventsAfter(t, rdb, keys, "user:a", 30)
		backdateChange(t, src, rdb, keys, "user:a", time.Now().Add(-20*time.Minute))
		startRelay(t, src, rdb, keys, relay.Config{})
		waitForSeqs(t, rdb, keys, "user:a", 1, 40)
	})
}

// No connection breaks and the server's run id stays the same.
func TestRelayDetectsARedisThatReturnedToAnOlderState(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		r, _ := startRelay(t, src, rdb, keys, relay.Config{})
		for range 20 {
			src.commitAndOffer(r, 2, "user:a")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForWatermarks(t, rdb, keys, time.Now()) // the first comparison is over
		loseEventsAfter(t, rdb, keys, "user:a", 30)
		backdateChange(t, src, rdb, keys, "user:a", time.Now().Add(-time.Hour))
		waitForSeqs(t, rdb, keys, "user:a", 1, 40)
		waitForWatermarks(t, rdb, keys, time.Now())
	})
}

// The core keeps running, and Redis restarts from a snapshot that is older than Quiet.
func TestRelayRepairsAQuietAccountAfterAnOldSnapshot(t *testing.T) {
	server := testenv.RedisServer(t)
	rdb := streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{Quiet: time.Millisecond})
	src.commitAndOffer(r, 10, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForWatermarks(t, rdb, keys, time.Now())
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	src.commitAndOffer(r, 10, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForWatermarks(t, rdb, keys, time.Now().Add(20*time.Millisecond)) // longer than Quiet
	server.Kill()
	server.Start()
	waitForSeqs(t, rdb, keys, "user:a", 1, 20)
}

func TestRelayReplacesInvalidWatermarks(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		rdb.Set(t.Context(), keys.Relayed(0), "yesterday", 0)
		rdb.LPush(t.Context(), keys.Relayed(1), "yesterday")
		src := newMemorySource()
		src.commitAndOffer(nil, 5, "user:a")
		src.commitAndOffer(nil, 5, "user:b")
		if err := src.Published(context.Background(), streamtest.SeqRange(1, 2)); err != nil {
			t.Fatal(err)
		}
		startRelay(t, src, rdb, keys, relay.Config{})
		waitForSeqs(t, rdb, keys, "user:a", 1, 5)
		waitForSeqs(t, rdb, keys, "user:b", 1, 5)
		streamtest.WaitFor(t, "watermarks of partitions 0 and 2", func() bool {
			return !readWatermark(t, rdb, keys, 0).IsZero() && !readWatermark(t, rdb, keys, 2).IsZero()
		})
	})
}

func TestRelayWritesTheWatermarkOfEachClusterPartition(t *testing.T) {
	server := streamtest.StartClusterOfOne(t)
	tests := []struct{ name, url string }{
		{"cluster client", "redis+cluster://" + server.Addr()},
		{"single client", server.URL()},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rdb := streamtest.Open(t, test.url)
			keys := bus.Keys{Namespace: fmt.Sprint("t", i)}.WithDefaults()
			src := newMemorySource()
			r, _ := startRelay(t, src, rdb, keys, relay.Config{})
			src.commitAndOffer(r, 2, "user:a")
			waitForWatermarks(t, rdb, keys, time.Time{})
		})
	}
}
