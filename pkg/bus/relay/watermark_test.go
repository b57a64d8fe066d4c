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

// markOf is a partition's mark; zero: none.
func markOf(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, partition int) time.Time {
	t.Helper()
	ms, err := strconv.ParseInt(rdb.Get(t.Context(), keys.Relayed(partition)).Val(), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// waitMarks waits until all marks are later than t.
func waitMarks(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, after time.Time) {
	t.Helper()
	for i := range keys.Partitions {
		streamtest.WaitFor(t, "a later mark", func() bool { return markOf(t, rdb, keys, i).After(after) })
	}
}

// longAgo makes an account one that changed at a time, and Redis' marks those of a minute later.
func longAgo(t testing.TB, src *memory, rdb redis.UniversalClient, keys bus.Keys, account string, changed time.Time) {
	t.Helper()
	src.mu.Lock()
	src.changed[account] = changed
	src.mu.Unlock()
	if err := rdb.Set(t.Context(), keys.Relayed(keys.Partition(account)), changed.Add(time.Minute).UnixMilli(), 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// Everything stopped for longer than Quiet, and Redis came back without its last writes.
func TestRelayHealsAQuietAccountAfterALongStop(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		r, stop := relayWith(t, src, rdb, keys, relay.Config{})
		for range 20 {
			src.run(r, 2, "user:a")
		}
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitMarks(t, rdb, keys, time.Time{})
		stop()
		loseSince(t, rdb, keys, "user:a", 30)
		longAgo(t, src, rdb, keys, "user:a", time.Now().Add(-20*time.Minute))
		relayWith(t, src, rdb, keys, relay.Config{})
		waitStream(t, rdb, keys, "user:a", 1, 40)
	})
}

// Neither a connection nor the server's identity tells of it.
func TestRelayNoticesThatRedisWentBackInTime(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		r, _ := relayWith(t, src, rdb, keys, relay.Config{})
		for range 20 {
			src.run(r, 2, "user:a")
		}
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitMarks(t, rdb, keys, time.Now()) // the first comparison is over
		loseSince(t, rdb, keys, "user:a", 30)
		longAgo(t, src, rdb, keys, "user:a", time.Now().Add(-time.Hour))
		waitStream(t, rdb, keys, "user:a", 1, 40)
		waitMarks(t, rdb, keys, time.Now())
	})
}

// The core runs all the time, and Redis comes back as a snapshot has it that is older than Quiet.
func TestRelayHealsAQuietAccountAfterAnOldSnapshot(t *testing.T) {
	server := testenv.RedisServer(t)
	rdb, keys, src := streamtest.Open(t, server.URL()), bus.Keys{}.WithDefaults(), newMemory()
	r, _ := relayWith(t, src, rdb, keys, relay.Config{Quiet: time.Millisecond})
	src.run(r, 10, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	waitMarks(t, rdb, keys, time.Now())
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	src.run(r, 10, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	waitMarks(t, rdb, keys, time.Now().Add(20*time.Millisecond)) // quiet for longer than Quiet
	server.Kill()
	server.Start()
	waitStream(t, rdb, keys, "user:a", 1, 20)
}

// A mark that somebody broke is as good as none.
func TestRelayLivesWithBrokenMarks(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		rdb.Set(t.Context(), keys.Relayed(0), "yesterday", 0)
		rdb.LPush(t.Context(), keys.Relayed(1), "yesterday")
		src := newMemory()
		src.run(nil, 5, "user:a")
		src.run(nil, 5, "user:b")
		if err := src.Published(context.Background(), streamtest.UpTo(1, 2)); err != nil {
			t.Fatal(err)
		}
		relayWith(t, src, rdb, keys, relay.Config{})
		waitStream(t, rdb, keys, "user:a", 1, 5)
		waitStream(t, rdb, keys, "user:b", 1, 5)
		streamtest.WaitFor(t, "a mark", func() bool { return !markOf(t, rdb, keys, 0).IsZero() && !markOf(t, rdb, keys, 2).IsZero() })
	})
}

func TestRelayMarksEachPartitionOfACluster(t *testing.T) {
	server := streamtest.ClusterOfOne(t)
	for i, url := range []string{"redis+cluster://" + server.Addr(), server.URL()} {
		rdb, keys, src := streamtest.Open(t, url), bus.Keys{Namespace: fmt.Sprint("t", i)}.WithDefaults(), newMemory()
		r, stop := relayWith(t, src, rdb, keys, relay.Config{})
		src.run(r, 2, "user:a")
		waitMarks(t, rdb, keys, time.Time{})
		stop()
	}
}
