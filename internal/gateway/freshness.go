package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/cache"
)

const (
	// defaultBehindAfter is several times the interval at which the relay moves the watermarks.
	defaultBehindAfter = 8 * time.Second
	// freshnessPolls is the number of reads of the watermarks in the time after which a partition is
	// behind.
	freshnessPolls = 8
	// freshnessTimeout limits one read of the watermarks, and one call of the core.
	freshnessTimeout = 2 * time.Second
)

// freshness finds out whether the balances in Redis may lack events of the ledger. Redis can answer
// reads while it refuses writes: its memory is full, it cannot write to its disk, or it lacks
// replicas. After a failover it may also have lost data. The core then cannot move the watermark of a
// partition, or the watermark went back. While that lasts and the core answers, balances come from
// the core.
type freshness struct {
	rdb         redis.UniversalClient
	keys        bus.Keys
	pingCore    func(context.Context) error
	behindAfter time.Duration
	log         *slog.Logger

	marks       []watermark   // of each partition; only run uses them
	behind      []atomic.Bool // of each partition
	count       atomic.Int64  // partitions that are behind
	coreAnswers atomic.Bool   // at the last call, which is made while a partition is behind
}

// A watermark is what the gateway knows about the watermark of a partition.
type watermark struct {
	newest   int64     // the highest value so far, in ms since 1970; 0: none
	advanced time.Time // when it was first read
}

func newFreshness(
	rdb redis.UniversalClient, cfg Config, pingCore func(context.Context) error, reg prometheus.Registerer,
) *freshness {
	f := &freshness{
		rdb:         rdb,
		keys:        cfg.Keys,
		pingCore:    pingCore,
		behindAfter: cfg.BehindAfter,
		log:         cfg.Logger,
		marks:       make([]watermark, cfg.Keys.Partitions),
		behind:      make([]atomic.Bool, cfg.Keys.Partitions),
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "realtime_gateway_partitions_behind",
		Help: "Partitions whose balances in Redis may lack committed events, because the core cannot " +
			"write to Redis or Redis lost data. Their balances come from the core.",
	}, func() float64 { return float64(f.count.Load()) }))
	return f
}

// run reads the watermarks until ctx ends.
func (f *freshness) run(ctx context.Context) error {
	ticker := time.NewTicker(f.behindAfter / freshnessPolls)
	defer ticker.Stop()
	for {
		f.readWatermarks(ctx)
		if f.count.Load() > 0 {
			f.checkCore(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// readWatermarks reads the watermarks of all partitions. A partition whose watermark cannot be read
// stays as it is: its balances cannot be read either.
func (f *freshness) readWatermarks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()

	pipe := f.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(f.marks))
	for i := range cmds {
		cmds[i] = pipe.Get(ctx, f.keys.Relayed(i))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error

	now := time.Now()
	count := int64(0)
	for i, cmd := range cmds {
		text, err := cmd.Result()
		if err == nil || errors.Is(err, redis.Nil) {
			value, _ := strconv.ParseInt(text, 10, 64) // 0: there is none
			f.behind[i].Store(f.marks[i].isBehind(value, now, f.behindAfter))
		}
		if f.behind[i].Load() {
			count++
		}
	}
	f.reportCount(count)
}

// isBehind records a value of the watermark and reports whether Redis may lack committed events. The
// age of the first value depends on two clocks. Later only this process's clock counts.
func (m *watermark) isBehind(value int64, now time.Time, limit time.Duration) bool {
	switch {
	case m.newest == 0 && value == 0:
		return false // nothing was ever published
	case m.newest == 0:
		m.newest = value
		m.advanced = time.UnixMilli(value)
	case value > m.newest:
		m.newest = value
		m.advanced = now
	case value < m.newest:
		return true // Redis went back, and the core has not repaired it yet
	}
	return now.Sub(m.advanced) > limit
}

// reportCount stores the number of partitions that are behind, and logs when it becomes zero or is
// no longer zero.
func (f *freshness) reportCount(count int64) {
	before := f.count.Swap(count)
	switch {
	case before == 0 && count > 0:
		f.log.Warn("Redis may lack committed events; balances come from the core while it answers", "count", count)
	case before > 0 && count == 0:
		f.log.Info("Redis has all committed events again; balances come from Redis")
	}
}

// checkCore finds out whether the core answers. Without it, the balances in Redis are the best that
// the gateway has.
func (f *freshness) checkCore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()
	f.coreAnswers.Store(f.pingCore(ctx) == nil)
}

// mustAskCore reports whether the account's balance must come from the core.
func (f *freshness) mustAskCore(account string) bool {
	return f.behind[f.keys.Partition(account)].Load() && f.coreAnswers.Load()
}

// check returns an error while balances come from the core.
func (f *freshness) check(context.Context) error {
	count := f.count.Load()
	if count == 0 {
		return nil
	}
	return fmt.Errorf("balances in Redis may lack committed events of %d of %d partitions, because the core cannot "+
		"write to it or because it lost data", count, len(f.behind))
}

// snapshots are the balances of the cache. While Redis may lack committed events, they report that
// they do not have the balance.
type snapshots struct {
	*cache.Balances

	freshness *freshness
}

// Get implements ws.Snapshots.
func (s snapshots) Get(ctx context.Context, account string) (b bus.Balance, ok bool, err error) {
	if s.freshness.mustAskCore(account) {
		return bus.Balance{}, false, nil
	}
	return s.Balances.Get(ctx, account)
}
