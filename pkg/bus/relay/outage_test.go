package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// accountInOtherPartition returns an account that is not in the partition of the given one.
func accountInOtherPartition(keys bus.Keys, kind, account string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(kind, ":", i); keys.Partition(other) != keys.Partition(account) {
			return other
		}
	}
}

func TestBrokenStreamDoesNotBlockOtherPartitions(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		bad := "user:bad"
		good := accountInOtherPartition(keys, "user", bad)
		model := accountInOtherPartition(keys, "model", bad)
		broken := keys.Stream(keys.Partition(bad))
		rdb.Set(t.Context(), broken, "no stream", 0)
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg, Page: 16, MaxBatch: 16})
		for range 50 { // some pages
			src.commitAndOffer(r, 1, bad, model)
		}
		for range 50 {
			src.commitAndOffer(nil, 1, good) // another process committed it and died
		}
		waitForSeqs(t, rdb, keys, good, 1, 50)
		waitForSeqs(t, rdb, keys, model, 1, 50)
		for range 50 {
			src.commitAndOffer(r, 1, good, model)
		}
		waitForSeqs(t, rdb, keys, good, 1, 100)
		waitForSeqs(t, rdb, keys, model, 1, 100)
		streamtest.WaitFor(t, "a backlog of 50", func() bool { return streamtest.SumMetric(t, reg, "realtime_relay_outbox_backlog") == 50 })
		rdb.Del(t.Context(), broken)
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, bad, 1, 50)
		waitForSeqs(t, rdb, keys, model, 1, 100)
	})
}

// TestEndOfAnOutageIsLogged has one stream that cannot be written for a while.
func TestEndOfAnOutageIsLogged(t *testing.T) {
	t.Parallel()
	rdb := streamtest.Open(t, testenv.RedisServer(t).URL())
	keys := bus.Keys{}.WithDefaults()
	log := &logBuffer{}
	src := newMemorySource()
	broken := keys.Stream(keys.Partition("user:u"))
	rdb.Set(t.Context(), broken, "no stream", 0)
	r, _ := startRelay(t, src, rdb, keys, relay.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	src.commitAndOffer(r, 1, "user:u")
	streamtest.WaitFor(t, "a line about the outage", func() bool { return log.contains("publishing to some partitions failed") })
	if log.contains("written again") {
		t.Error("the end of the outage was logged before it")
	}
	rdb.Del(t.Context(), broken)
	streamtest.WaitFor(t, "a line about its end", func() bool { return log.contains("all partitions are written again") })
}

// logBuffer holds log lines.
type logBuffer struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.Write(line)
}

func (b *logBuffer) contains(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.lines.String(), text)
}

func TestOnlyABrokenStreamIsLeftToTheSweep(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		bad := "user:bad"
		good := accountInOtherPartition(keys, "user", bad)
		rdb.Set(t.Context(), keys.Stream(keys.Partition(bad)), "no stream", 0)
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
		src.commitAndOffer(r, 1, bad)
		streamtest.WaitFor(t, "the first failure", func() bool { return streamtest.SumMetric(t, reg, "realtime_relay_deferred_total") == 1 })
		for seq := range int64(50) {
			src.commitAndOffer(r, 1, good)
			waitForSeqs(t, rdb, keys, good, 1, seq+1)
		}
		if got := streamtest.SumMetric(t, reg, "realtime_relay_deferred_total"); got != 1 {
			t.Errorf("got realtime_relay_deferred_total %v, want 1", got)
		}
	})
}

func TestOtherMasterIsServedWhileOneIsDown(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		testOneMasterDown(t, (*testenv.Server).Kill, (*testenv.Server).Start)
	})
	t.Run("hanging", func(t *testing.T) {
		testOneMasterDown(t, (*testenv.Server).Stop, (*testenv.Server).Continue)
	})
}

// openTwoServers returns a client of a cluster that assigns each of two separate servers one half of
// the slots.
func openTwoServers(t *testing.T) (*redis.ClusterClient, [2]*testenv.Server) {
	t.Helper()
	var servers [2]*testenv.Server
	var slots []redis.ClusterSlot
	for i := range servers {
		servers[i] = testenv.RedisServer(t)
		slots = append(slots, redis.ClusterSlot{
			Start: i * 8192,
			End:   i*8192 + 8191,
			Nodes: []redis.ClusterNode{{Addr: servers[i].Addr()}},
		})
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots:          func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
		MaxRetries:            1,
		MinRetryBackoff:       time.Millisecond,
		MaxRetryBackoff:       time.Millisecond,
		DialerRetries:         1,
		ReadTimeout:           200 * time.Millisecond,
		ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb, servers
}

func testOneMasterDown(t *testing.T, stopServer, startServer func(*testenv.Server)) {
	rdb, servers := openTwoServers(t)
	direct := [2]redis.UniversalClient{streamtest.Open(t, servers[0].URL()), streamtest.Open(t, servers[1].URL())}
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	reg := prometheus.NewRegistry()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{Page: 16, MaxBatch: 16, Registerer: reg})
	for i := range 100 {
		src.commitAndOffer(r, 1, fmt.Sprint("user:", i))
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	var on [2][]string // accounts by server
	for i := range 100 {
		account := fmt.Sprint("user:", i)
		server := 0
		if direct[1].Exists(t.Context(), keys.BalanceHash(account)).Val() == 1 {
			server = 1
		}
		on[server] = append(on[server], account)
	}

	stopServer(servers[1])
	for i := range 100 { // some pages
		src.commitAndOffer(r, 1, on[1][i%10])
	}
	for range 50 {
		src.commitAndOffer(nil, 1, on[0][0]) // another process committed it and died
		src.commitAndOffer(r, 1, on[0][1])
		src.commitAndOffer(r, 1, on[1][0], on[0][2])
	}
	for i := range 3 {
		waitForSeqs(t, direct[0], keys, on[0][i], 1, 51)
	}
	// Some of these partitions have no events.
	want := "32 of 64 partitions cannot be written, and their events wait in the outbox: 32 to 63"
	streamtest.WaitFor(t, want, func() bool {
		err := r.CheckPartitions()
		return err != nil && err.Error() == want
	})
	if got := streamtest.SumMetric(t, reg, "realtime_relay_partitions"); got != 64 {
		t.Errorf("got realtime_relay_partitions %v in all states, want 64", got)
	}
	startServer(servers[1])
	streamtest.WaitFor(t, "all partitions can be written", func() bool { return r.CheckPartitions() == nil })
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForSeqs(t, direct[0], keys, on[0][2], 1, 51)
	waitForSeqs(t, direct[1], keys, on[1][0], 1, 61)
	waitForSeqs(t, direct[1], keys, on[1][9], 1, 11)
}

// TestSweepReadsAPartOfTheOutboxWhileAPartitionIsAway fills the outbox with rows that cannot be
// published. Rows of other partitions behind them are published nevertheless.
func TestSweepReadsAPartOfTheOutboxWhileAPartitionIsAway(t *testing.T) {
	rdb, servers := openTwoServers(t)
	keys := bus.Keys{Partitions: 2}.WithDefaults()
	src := newMemorySource()
	reg := prometheus.NewRegistry()
	good := "user:0"
	for i := 1; keys.Partition(good) != 0; i++ {
		good = fmt.Sprint("user:", i)
	}
	bad := accountInOtherPartition(keys, "user", good)
	servers[1].Kill()
	for range 400 { // 200 pages
		src.commitAndOffer(nil, 1, bad)
	}
	src.commitAndOffer(nil, 1, good)
	startRelay(t, src, rdb, keys, relay.Config{Registerer: reg, Page: 2})
	waitForSeqs(t, streamtest.Open(t, servers[0].URL()), keys, good, 1, 1)
	sweeps := streamtest.SumMetric(t, reg, "realtime_relay_sweeps_total")
	reads := src.pendingReads.Load()
	if perSweep := float64(reads) / sweeps; perSweep > 70 {
		t.Errorf("got %v reads of the outbox in a sweep, want at most 70", perSweep)
	}
	servers[1].Start()
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForSeqs(t, streamtest.Open(t, servers[1].URL()), keys, bad, 1, 400)
}
