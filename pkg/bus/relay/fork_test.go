package relay_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// forkCase takes the ledger back, lets the relay notice it, and returns the accounts to check.
type forkCase struct {
	name   string
	change func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) (from map[string]int64)
}

var forkCases = []forkCase{
	{"the ledger lost the newest events", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		src.failOver(backup)
		return nil
	}},
	{"exactly one other event with the same seq", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 1)
		src.failOver(backup)
		src.commitAndOffer(nil, 1, "user:a")
		return nil
	}},
	{"the ledger has more events than Redis", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		src.failOver(backup)
		for range 200 {
			src.commitAndOffer(r, 3, "user:a")
		}
		return nil
	}},
	{"the ledger lost the account", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		delete(backup.updates, "user:a")
		delete(backup.changed, "user:a")
		src.failOver(backup)
		return nil
	}},
	{"the ledger has another account of the same name", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		delete(backup.updates, "user:a")
		src.failOver(backup)
		src.commitAndOffer(r, 2, "user:a")
		return nil
	}},
	{"nobody notices until the next publication", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 1)
		src.replaceData(backup)
		src.commitAndOffer(r, 1, "user:a") // the same seq
		src.commitAndOffer(r, 1, "user:a")
		return nil
	}},
	{"nobody notices, and the next event is part of a larger update", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		src.replaceData(backup)
		src.commitAndOffer(r, 5, "user:a")
		return nil
	}},
	{"nobody notices, and nothing is published", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		waitForWatermarks(t, rdb, keys, time.Now().Add(40*time.Millisecond)) // the events were checked
		src.replaceData(backup)
		return nil
	}},
	{"the former database comes back", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		standby := src.copyData()
		commitSome(t, src, r, 3)
		former := src.copyData()
		src.failOver(standby)
		commitSome(t, src, r, 2)
		waitHealed(t, rdb, keys, src, nil, "user:a")
		src.failOver(former)
		return nil
	}},
	{"the stream was trimmed after the common event", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		rdb.XTrimMaxLen(t.Context(), keys.Stream(keys.Partition("user:a")), 2)
		src.failOver(backup)
		commitSome(t, src, nil, 4)
		return map[string]int64{"user:a": 12, "user:quiet": 100}
	}},
	{"the stream was deleted", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		waitHealed(t, rdb, keys, src, nil, "user:a")
		src.failOver(backup)
		for i := range keys.Partitions {
			rdb.Del(t.Context(), keys.Stream(i))
		}
		src.commitAndOffer(r, 1, "user:b") // the only trace
		src.replaceData(backup)
		src.commitAndOffer(r, 1, "user:b")
		return map[string]int64{"user:a": 100, "user:quiet": 100, "user:b": 100}
	}},
	{"Redis was emptied at the same time", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		all := rdb.Keys(t.Context(), keys.Namespace+":*").Val()
		if len(all) > 0 {
			rdb.Del(t.Context(), all...)
		}
		src.failOver(backup)
		src.commitAndOffer(r, 1, "user:a")
		return map[string]int64{"user:a": 100, "user:quiet": 100, "user:b": 100}
	}},
}

// commitSome commits n transactions of one event and waits until they are published. If r is nil, it
// only commits.
func commitSome(t *testing.T, src *memorySource, r *relay.Relay, n int) {
	t.Helper()
	for range n {
		src.commitAndOffer(r, 1, "user:a")
	}
	if r != nil {
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	}
}

func TestRelayHealsAForkedLedger(t *testing.T) {
	for _, c := range forkCases {
		t.Run(c.name, func(t *testing.T) {
			streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
				src := newMemorySource()
				reg := prometheus.NewRegistry()
				r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
				for range 10 {
					src.commitAndOffer(r, 1, "user:a", "user:b")
				}
				src.commitAndOffer(r, 3, "user:quiet")
				streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
				waitForWatermarks(t, rdb, keys, time.Now()) // the first checks are over
				from := c.change(t, src, r, rdb, keys)
				waitHealed(t, rdb, keys, src, from, "user:a", "user:b", "user:quiet")
				streamtest.WaitFor(t, "the end of the comparison", func() bool {
					return r.CheckHistory() == nil && streamtest.SumMetric(t, reg, "realtime_relay_history_comparison_running") == 0
				})
				commitSome(t, src, r, 3)
				waitHealed(t, rdb, keys, src, from, "user:a", "user:b", "user:quiet")
			})
		})
	}
}
