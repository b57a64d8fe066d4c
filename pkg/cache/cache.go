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

// Config has the optional settings of the cache.
type Config struct {
	Keys     bus.Keys      // Defaults to namespace "rt", 64 partitions.
	Disabled bool          // true: each Get reads Redis. Defaults to false: the LRU answers, too.
	Size     int           // the number of accounts in the LRU. Defaults to 10,000.
	TTL      time.Duration // limits how long a balance stays in the LRU. Defaults to 1 h.

	// Timeout limits one read of Redis, so that the caller has time to ask the ledger. After a read
	// that timed out, Get does not read Redis for the same time; on a cluster, only for accounts of
	// the same partition. Defaults to 1 s.
	Timeout time.Duration

	// Current reports whether Seen is called for every event of an account. If it returns false,
	// Get does not use the LRU and reads Redis. It must not block. Defaults to a function that
	// returns false, so that Get is correct without Seen.
	Current func(account string) bool

	Registerer prometheus.Registerer // Defaults to no metrics.
}

// maxLoads is the maximum number of reads in one Get. A read is repeated if its balance is older
// than an event that has arrived. The first read may have been started by another caller before
// that event. A later read includes all events that were reported before the call, because Redis
// has the balance before anyone receives the event. It is older only if Redis has lost data.
const maxLoads = 3

// ErrStale means that the balance in Redis is older than an event that this process has seen, for
// example after a failover that lost data. The caller should ask the ledger.
var ErrStale = errors.New("the balance in Redis is older than the newest event")

var errPaused = errors.New("reads of Redis are paused after a timeout")

// Balances returns the balances of accounts. Its methods may be called from several goroutines.
type Balances struct {
	rdb      redis.UniversalClient
	keys     bus.Keys
	accounts *otter.Cache[string, *account]
	ttl      time.Duration
	timeout  time.Duration
	disabled bool
	current  func(account string) bool
	metrics  metrics

	start time.Time
	// pausedUntil is the time since start, in nanoseconds, until which Redis is not read. On a
	// cluster, of which a part may be away, there is one for each partition, and otherwise only one.
	pausedUntil []atomic.Int64
}

// New returns a cache that reads from rdb.
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

	keys := cfg.Keys.WithDefaults()
	pauses := 1
	_, isCluster := rdb.(*redis.ClusterClient)
	if isCluster {
		pauses = keys.Partitions
	}

	return &Balances{
		rdb:  rdb,
		keys: keys,
		accounts: otter.Must(&otter.Options[string, *account]{
			MaximumSize: cfg.Size,
			// Eviction runs in the calls that cause it, and cachedAccount checks the TTL. The
			// expiry of otter would need a goroutine, and it would read the clock in each Seen.
			Executor: func(fn func()) { fn() },
		}),
		ttl:      cfg.TTL,
		timeout:  cfg.Timeout,
		disabled: cfg.Disabled,
		current:  cfg.Current,
		metrics:  newMetrics(cfg.Registerer),
		start:    time.Now(),

		pausedUntil: make([]atomic.Int64, pauses),
	}
}

// Get returns the balance of an account. ok is false if Redis does not have the complete balance.
// After ok false, ErrStale or an error of Redis the caller should ask the ledger. Concurrent calls
// for one account share a read.
func (b *Balances) Get(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	a := b.cachedAccount(name)
	if !b.disabled {
		balance, ok = b.lookUp(name, a)
		if ok {
			return balance, true, nil
		}
	}

	b.metrics.misses.Inc()
	seenBefore := a.floor.Load()
	read := func(ctx context.Context) (bus.Balance, bool, error) { return b.readOrPause(ctx, name) }
	for range maxLoads {
		balance, ok, err = a.loadBalance(ctx, read)
		if err != nil {
			return bus.Balance{}, false, fmt.Errorf("read balance of %s: %w", name, err)
		}
		if ok && balance.Seq >= a.floor.Load() {
			return balance, true, nil
		}
		if !ok && seenBefore == 0 {
			return bus.Balance{}, false, nil
		}
		b.metrics.stale.Inc()
	}

	switch {
	case !ok:
		return bus.Balance{}, false, nil
	case balance.Seq >= seenBefore: // the newer events arrived after the call
		return balance, true, nil
	}
	return bus.Balance{}, false, fmt.Errorf("read balance of %s: %w", name, ErrStale)
}

// lookUp returns the balance in the LRU. ok is false if there is none, or if it may be stale.
func (b *Balances) lookUp(name string, a *account) (balance bus.Balance, ok bool) {
	balance, ok = a.cachedBalance()
	if !ok {
		return bus.Balance{}, false
	}

	includesSeen := balance.Seq >= a.floor.Load()
	if !includesSeen || !b.current(name) {
		b.metrics.stale.Inc()
		return bus.Balance{}, false
	}
	b.metrics.hits.Inc()
	return balance, true
}

// readOrPause reads Redis. After a read that timed out it returns an error at once for a while, so
// that a caller with many accounts does not wait for the timeout of each one.
func (b *Balances) readOrPause(ctx context.Context, name string) (balance bus.Balance, ok bool, err error) {
	pausedUntil := b.pauseOf(name)
	if time.Since(b.start) < time.Duration(pausedUntil.Load()) {
		return bus.Balance{}, false, errPaused
	}

	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	balance, ok, err = b.readHash(ctx, name)
	if err != nil && ctx.Err() != nil {
		pausedUntil.Store(int64(time.Since(b.start) + b.timeout))
	}
	return balance, ok, err
}

// pauseOf returns the pause of the account's part of Redis.
func (b *Balances) pauseOf(name string) *atomic.Int64 {
	if len(b.pausedUntil) == 1 {
		return &b.pausedUntil[0]
	}
	return &b.pausedUntil[b.keys.Partition(name)]
}

// cachedAccount returns the account's state in the LRU. It adds the state if it is absent. The state
// is in the LRU before Redis is read, so that Seen finds it during the read. A state that was evicted
// is never added again. So a state in the LRU has the seq of each Seen since it was added.
func (b *Balances) cachedAccount(name string) *account {
	now := int64(time.Since(b.start))
	a, ok := b.accounts.GetIfPresent(name)
	if !ok {
		added := new(account)
		added.addedAt.Store(now)
		a, _ = b.accounts.SetIfAbsent(name, added)
		return a
	}

	addedAt := a.addedAt.Load()
	isExpired := now-addedAt >= int64(b.ttl)
	if isExpired && a.addedAt.CompareAndSwap(addedAt, now) {
		a.forgetBalance()
	}
	return a
}

// Seen reports that the event seq of the account has arrived. A later Get does not return an older
// balance. Call Seen for each delivery before any other code uses it. Seen does not allocate and
// takes about 50 ns.
func (b *Balances) Seen(name string, seq int64) {
	entry, ok := b.accounts.GetEntryQuietly(name)
	if ok {
		entry.Value.raiseFloor(seq)
	}
}

// RequireSeq reports that the ledger has the event seq of the account, and that someone is shown it
// who did not get it from Redis. A later Get does not return an older balance. Unlike Seen, it also
// adds an account that is not in the LRU, since Redis may not have the event yet.
func (b *Balances) RequireSeq(name string, seq int64) {
	b.cachedAccount(name).raiseFloor(seq)
}

// Rewind reports that the account's events after seq may never have happened. A later Get does not
// return a balance that was read before, and does not wait for a read that was started before. It
// may return a balance that is older than events that Seen reported before, but not older than seq.
func (b *Balances) Rewind(name string, seq int64) {
	entry, ok := b.accounts.GetEntryQuietly(name)
	if ok {
		entry.Value.lowerFloor(seq)
		entry.Value.forgetBalance()
	}
}

// Forget removes all balances from the LRU, so that each Get reads Redis again. A later Get does not
// wait for a read that was started before. Call it if events may have been missed. Balances older
// than a reported Seen are still not returned.
func (b *Balances) Forget() {
	for _, a := range b.accounts.All() {
		a.forgetBalance()
	}
}
