package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config is the cache's optional settings.
type Config struct {
	Keys     bus.Keys      // Defaults to namespace "rt", 16 partitions.
	Disabled bool          // read Redis on each Get. Defaults to false: the LRU is on.
	Size     int           // accounts in the LRU. Defaults to 10,000.
	TTL      time.Duration // how long an account stays in the LRU. Defaults to 1 h.
	// Timeout is how long one read of Redis may take, so that time is left to ask the ledger. After a read that took
	// longer, Redis is not asked for as long again. Defaults to 1 s.
	Timeout time.Duration
	// Current reports whether Seen is being called for every event of an account. While it is not, the LRU is not
	// trusted and each Get reads Redis. It must not block. Defaults to never, so that Get is right without Seen.
	Current    func(account string) bool
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// maxLoads bounds how often one Get reads Redis anew because newer events
// arrived meanwhile. Redis has an event's balance before anybody hears of the
// event, so a read that began after the call has all that was seen before the
// call, unless Redis lost something; the first may have been begun by another.
const maxLoads = 3

// ErrStale means that Redis keeps answering a balance older than an event that
// this process has seen, as after a failover that lost it. Ask the ledger.
var ErrStale = errors.New("the balance in Redis is older than the newest event")

var errPaused = errors.New("redis hung a moment ago and is not asked again yet")

// Balances answers balances. Its methods may be called from several goroutines.
type Balances struct {
	rdb      redis.UniversalClient
	keys     bus.Keys
	accounts *otter.Cache[string, *account]
	ttl      time.Duration
	timeout  time.Duration
	disabled bool
	current  func(account string) bool
	metrics  metrics

	start       time.Time
	pausedUntil atomic.Int64 // time since start until which Redis is not asked
}

// New returns a cache on the given client.
func New(rdb redis.UniversalClient, cfg Config) *Balances {
	if cfg.Size <= 0 {
		cfg.Size = 10_000
	}
	if cfg.TTL <= 0 {
		cfg.TTL = time.Hour
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Current == nil {
		cfg.Current = func(string) bool { return false }
	}
	return &Balances{
		rdb:  rdb,
		keys: cfg.Keys.WithDefaults(),
		accounts: otter.Must(&otter.Options[string, *account]{
			MaximumSize: cfg.Size,
			// Eviction runs inside the calls that cause it, and Get looks at ages itself
			// (otter's expiry needs a goroutine, and a clock in each Seen): nothing is left running.
			Executor: func(fn func()) { fn() },
		}),
		ttl:      cfg.TTL,
		timeout:  cfg.Timeout,
		disabled: cfg.Disabled,
		current:  cfg.Current,
		metrics:  newMetrics(cfg.Registerer),
		start:    time.Now(),
	}
}

// Get returns the account's balance. ok is false when Redis does not have all of
// it; ErrStale and Redis' own errors mean the same to a caller that can ask the
// ledger. Concurrent calls for one account share one read.
func (b *Balances) Get(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	a := b.cachedAccount(name)
	if b.disabled {
		defer b.accounts.Invalidate(name)
	} else if balance, known := a.cachedBalance(); known && balance.Seq >= a.floor.Load() && b.current(name) {
		b.metrics.hits.Inc()
		return balance, true, nil
	} else if known {
		b.metrics.stale.Inc()
	}
	b.metrics.misses.Inc()
	asked := a.floor.Load()
	for range maxLoads {
		balance, ok, err = a.loadBalance(ctx, func(ctx context.Context) (bus.Balance, bool, error) { return b.readOrPause(ctx, name) })
		if err != nil {
			return bus.Balance{}, false, fmt.Errorf("read balance of %s: %w", name, err)
		}
		if ok && balance.Seq >= a.floor.Load() {
			return balance, true, nil
		}
		if !ok && asked == 0 {
			return bus.Balance{}, false, nil
		}
		b.metrics.stale.Inc()
	}
	switch {
	case !ok:
		return bus.Balance{}, false, nil
	case balance.Seq >= asked: // events arrive faster than Redis is read; these came after the call
		return balance, true, nil
	}
	return bus.Balance{}, false, fmt.Errorf("read balance of %s: %w", name, ErrStale)
}

// readOrPause reads Redis, unless it hung a moment ago: who wants many accounts must not
// wait that long for each.
func (b *Balances) readOrPause(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	if time.Since(b.start) < time.Duration(b.pausedUntil.Load()) {
		return bus.Balance{}, false, errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	balance, ok, err = b.readHash(ctx, name)
	if err != nil && ctx.Err() != nil {
		b.pausedUntil.Store(int64(time.Since(b.start) + b.timeout))
	}
	return balance, ok, err
}

// cachedAccount returns what is in the LRU for the account, after putting it there when
// it is not. It is there before Redis is asked, so Seen finds it while the answer
// is on its way. One that has left the LRU does not come back: who finds it there
// knows that no Seen since its coming has missed it.
func (b *Balances) cachedAccount(name string) *account {
	if a, ok := b.accounts.GetIfPresent(name); ok {
		if time.Since(a.since) < b.ttl {
			return a
		}
		b.accounts.Invalidate(name)
	}
	a, _ := b.accounts.SetIfAbsent(name, &account{since: time.Now()})
	return a
}

// Seen tells that the account's event seq has arrived: from now on Get returns
// no balance older than that. Call it for each delivery before anybody else gets to
// know of it. It allocates nothing and costs some 50 ns.
func (b *Balances) Seen(name string, seq int64) {
	if entry, ok := b.accounts.GetEntryQuietly(name); ok {
		entry.Value.raiseFloor(seq)
	}
}

// Forget has each Get read Redis again. Call it when events may have been missed,
// so that Seen was not called for them.
func (b *Balances) Forget() {
	for _, a := range b.accounts.All() {
		a.value.Store(nil) // what Seen told stays
	}
}
