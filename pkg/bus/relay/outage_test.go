package relay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// elsewhere names an account that is not in the account's partition.
func elsewhere(keys bus.Keys, kind, account string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(kind, ":", i); keys.Partition(other) != keys.Partition(account) {
			return other
		}
	}
}

func TestRelayKeepsOneBrokenStreamFromTheOthers(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		bad := "user:bad"
		good, model := elsewhere(keys, "user", bad), elsewhere(keys, "model", bad)
		broken := keys.Stream(keys.Partition(bad))
		rdb.Set(t.Context(), broken, "no stream", 0)
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg, Page: 16, MaxBatch: 16})
		for range 50 { // some pages
			src.run(r, 1, bad, model)
		}
		for range 50 {
			src.run(nil, 1, good) // left by another process
		}
		waitStream(t, rdb, keys, good, 1, 50)
		waitStream(t, rdb, keys, model, 1, 50)
		for range 50 {
			src.run(r, 1, good, model)
		}
		waitStream(t, rdb, keys, good, 1, 100)
		waitStream(t, rdb, keys, model, 1, 100)
		streamtest.WaitFor(t, "the gauge", func() bool { return streamtest.MetricSum(t, reg, "relay_outbox_backlog") == 50 })
		rdb.Del(t.Context(), broken)
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, bad, 1, 50)
		waitStream(t, rdb, keys, model, 1, 100)
	})
}

func TestRelayLeavesOnlyABrokenStreamToTheSweep(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		bad := "user:bad"
		good := elsewhere(keys, "user", bad)
		rdb.Set(t.Context(), keys.Stream(keys.Partition(bad)), "no stream", 0)
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg})
		src.run(r, 1, bad)
		streamtest.WaitFor(t, "the first failure", func() bool { return streamtest.MetricSum(t, reg, "relay_deferred_total") == 1 })
		for seq := range int64(50) {
			src.run(r, 1, good)
			waitStream(t, rdb, keys, good, 1, seq+1)
		}
		if got := streamtest.MetricSum(t, reg, "relay_deferred_total"); got != 1 {
			t.Errorf("%v transactions were left to the sweep; want 1", got)
		}
	})
}

// One master of two is away, or hangs. Accounts on the other one go on.
func TestRelayGoesOnWhileOneMasterIsAway(t *testing.T) {
	t.Run("away", func(t *testing.T) {
		oneMasterAway(t, (*testenv.Server).Kill, (*testenv.Server).Start)
	})
	t.Run("hangs", func(t *testing.T) {
		oneMasterAway(t, (*testenv.Server).Stop, (*testenv.Server).Continue)
	})
}

func oneMasterAway(t *testing.T, leave, comeBack func(*testenv.Server)) {
	// Two servers that a cluster client believes to share the slots.
	var servers [2]*testenv.Server
	var direct [2]redis.UniversalClient
	var slots []redis.ClusterSlot
	for i := range servers {
		servers[i] = testenv.RedisServer(t)
		direct[i] = streamtest.Open(t, servers[i].URL())
		slots = append(slots, redis.ClusterSlot{Start: i * 8192, End: i*8192 + 8191, Nodes: []redis.ClusterNode{{Addr: servers[i].Addr()}}})
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
		MaxRetries:   1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: time.Millisecond,
		DialerRetries: 1, ReadTimeout: 200 * time.Millisecond, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	keys, src := bus.Keys{}.WithDefaults(), newMemory()
	r, _ := relayWith(t, src, rdb, keys, relay.Config{Page: 16, MaxBatch: 16})
	var on [2][]string
	for i := range 100 {
		src.run(r, 1, fmt.Sprint("user:", i))
	}
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	for i := range 100 {
		account, server := fmt.Sprint("user:", i), 0
		if direct[1].Exists(t.Context(), keys.BalanceHash(account)).Val() == 1 {
			server = 1
		}
		on[server] = append(on[server], account)
	}

	leave(servers[1])
	for i := range 100 { // some pages
		src.run(r, 1, on[1][i%10])
	}
	for range 50 {
		src.run(nil, 1, on[0][0]) // left by another process
		src.run(r, 1, on[0][1])
		src.run(r, 1, on[1][0], on[0][2])
	}
	for i := range 3 {
		waitStream(t, direct[0], keys, on[0][i], 1, 51)
	}
	comeBack(servers[1])
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	waitStream(t, direct[0], keys, on[0][2], 1, 51)
	waitStream(t, direct[1], keys, on[1][0], 1, 61)
	waitStream(t, direct[1], keys, on[1][9], 1, 11)
}
