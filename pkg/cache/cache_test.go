package cache_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/cache"
)

func onEachRedis(t *testing.T, run func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys)) {
	t.Run("redis", func(t *testing.T) {
		url, namespace := testenv.Redis(t)
		run(t, openRedis(t, url), bus.Keys{Namespace: namespace, Partitions: 4})
	})
	t.Run("miniredis", func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		run(t, openRedis(t, "redis://"+server.Addr()), bus.Keys{Namespace: "test", Partitions: 4})
	})
}

func openRedis(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// publishState publishes an account's state as it is at seq.
func publishState(t testing.TB, p *publish.Publisher, account string, seq int64) {
	t.Helper()
	g := bus.AccountUpdate{
		Key: fmt.Sprintf("%s-%d", account, seq), Account: account,
		Deliveries: []bus.Delivery{{ID: "id", Type: "t", Account: account, Seq: seq, Data: []byte("{}")}},
		Balance:    bus.Balance{Account: account, Available: 100 * seq, Escrow: seq, Earned: 10 * seq, Seq: seq, UpdatedAt: updatedAt(seq)},
	}
	outcomes, err := p.Publish(t.Context(), []publish.Publication{{Update: g, AsStartingPoint: true}})
	if err != nil || !outcomes[0].Done() {
		t.Fatal(outcomes, err)
	}
}

func updatedAt(seq int64) time.Time { return time.UnixMilli(1_700_000_000_000 + seq).UTC() }

func mustGet(t testing.TB, b *cache.Balances, account string) bus.Balance {
	t.Helper()
	balance, ok, err := b.Get(t.Context(), account)
	if err != nil || !ok {
		t.Fatalf("Get: ok %v, error %v", ok, err)
	}
	return balance
}

func TestGetReadsTheHashAndKeepsIt(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		publishState(t, p, "user:a", 7)
		publishState(t, p, "model:m", 3)
		reg := prometheus.NewRegistry()
		b := cache.New(rdb, cache.Config{Keys: keys, Registerer: reg, Current: always})
		for range 3 {
			if got, want := mustGet(t, b, "user:a"), (bus.Balance{Account: "user:a", Available: 700, Escrow: 7, Seq: 7, UpdatedAt: updatedAt(7)}); got != want {
				t.Errorf("user: %+v; want %+v", got, want)
			}
			if got, want := mustGet(t, b, "model:m"), (bus.Balance{Account: "model:m", Earned: 30, Seq: 3, UpdatedAt: updatedAt(3)}); got != want {
				t.Errorf("model: %+v; want %+v", got, want)
			}
		}
		if hits, misses := readCounter(t, reg, "balance_cache_hits_total"), readCounter(t, reg, "balance_cache_misses_total"); hits != 4 || misses != 2 {
			t.Errorf("%v hits, %v misses; want 4 and 2", hits, misses)
		}
		publishState(t, p, "user:a", 8)
		if got := mustGet(t, b, "user:a").Seq; got != 7 {
			t.Errorf("seq %d although nobody has seen a newer event", got)
		}
		b.Seen("user:a", 8)
		if got := mustGet(t, b, "user:a").Available; got != 800 {
			t.Errorf("available %d after event 8 was seen", got)
		}
		if got := readCounter(t, reg, "balance_cache_stale_total"); got != 1 {
			t.Errorf("balance_cache_stale_total = %v; want 1", got)
		}
	})
}

func readCounter(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			sum += f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return sum
}

func TestGetNeverShowsAPartlyKnownBalance(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: always})
		unknown := func(what, account string) {
			t.Helper()
			if balance, ok, err := b.Get(t.Context(), account); ok || err != nil || balance != (bus.Balance{}) {
				t.Errorf("%s: %+v, ok %v, error %v", what, balance, ok, err)
			}
		}
		unknown("absent", "user:a")
		for account, fields := range map[string][]string{
			"user:a":  {"available", "escrow", "seq", "updatedAt"},
			"model:m": {"earned", "seq", "updatedAt"},
		} {
			for _, field := range fields {
				for _, bad := range []string{"", "x", "-1", "1.5", "99999999999999999999"} {
					rdb.Del(t.Context(), keys.BalanceHash(account), keys.Dedup(keys.Partition(account), account+"-7"))
					publishState(t, p, account, 7)
					rdb.HSet(t.Context(), keys.BalanceHash(account), field, bad)
					unknown(account+" with "+field+"="+bad, account)
				}
				rdb.HDel(t.Context(), keys.BalanceHash(account), field)
				unknown(account+" without "+field, account)
			}
		}
		// What was unknown is not remembered.
		rdb.Del(t.Context(), keys.BalanceHash("user:a"), keys.Dedup(keys.Partition("user:a"), "user:a-7"))
		publishState(t, p, "user:a", 7)
		if got := mustGet(t, b, "user:a").Seq; got != 7 {
			t.Errorf("seq %d", got)
		}
	})
}

func TestGetSaysSoWhenRedisIsAwayOrBehind(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		publishState(t, p, "user:a", 7)
		b := cache.New(rdb, cache.Config{Keys: keys, Current: always})
		mustGet(t, b, "user:a")
		b.Seen("user:a", 9)
		if _, ok, err := b.Get(t.Context(), "user:a"); ok || !errors.Is(err, cache.ErrStale) {
			t.Errorf("behind: ok %v, error %v", ok, err)
		}
		publishState(t, p, "user:a", 8) // also too old
		if _, ok, _ := b.Get(t.Context(), "user:a"); ok {
			t.Error("a balance of seq 8 is shown after event 9")
		}
		publishState(t, p, "user:a", 9)
		if got := mustGet(t, b, "user:a"); got.Seq != 9 {
			t.Errorf("seq %d", got.Seq)
		}
	})
	away := cache.New(openRedis(t, "redis://127.0.0.1:1?max_retries=-1"), cache.Config{})
	var refused *net.OpError
	if _, ok, err := away.Get(t.Context(), "user:a"); ok || !errors.As(err, &refused) {
		t.Errorf("away: ok %v, error %v", ok, err)
	}
}

// A Redis that hangs is given up soon, whoever's deadline is later, and not waited for by everybody in turn.
func TestGetGivesUpAHangingRedis(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	const timeout = 300 * time.Millisecond
	b := cache.New(openRedis(t, server.URL()), cache.Config{Timeout: timeout, Current: always})
	server.Stop()
	begin := time.Now()
	for i := range 20 {
		if _, ok, err := b.Get(t.Context(), fmt.Sprintf("user:u%d", i)); ok || err == nil {
			t.Errorf("got %t, %v", ok, err)
		}
	}
	if took := time.Since(begin); took > 10*timeout {
		t.Errorf("20 balances were given up after %s", took)
	}
	server.Continue()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, _, err := b.Get(t.Context(), "user:u1"); err != nil; _, _, err = b.Get(t.Context(), "user:u1") {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("Redis is not asked again: %v", err)
		}
		<-tick.C
	}
}

// What changed without a word shows after Forget; what was seen holds on.
func TestForget(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: always})
		publishState(t, p, "user:a", 1)
		mustGet(t, b, "user:a")
		b.Seen("user:a", 1)
		publishState(t, p, "user:a", 2) // which nobody is told of
		if got := mustGet(t, b, "user:a"); got.Seq != 1 {
			t.Errorf("seq %d is not from the LRU", got.Seq)
		}
		b.Forget()
		if got := mustGet(t, b, "user:a"); got.Seq != 2 {
			t.Errorf("seq %d after Forget", got.Seq)
		}
		b.Seen("user:a", 3)
		b.Forget()
		if _, _, err := b.Get(t.Context(), "user:a"); !errors.Is(err, cache.ErrStale) {
			t.Errorf("older than what was seen: %v", err)
		}
	})
}

// While events do not arrive, nothing is answered that only they would make old.
func TestNotCurrent(t *testing.T) {
	server := testenv.RedisServer(t)
	p := publish.New(openRedis(t, server.URL()), publish.Config{})
	var current atomic.Bool
	b := cache.New(openRedis(t, server.URL()), cache.Config{Current: func(account string) bool { return account != "user:a" || current.Load() }})
	current.Store(true)
	for _, account := range []string{"user:a", "user:b"} {
		publishState(t, p, account, 1)
		mustGet(t, b, account)
		publishState(t, p, account, 2) // which nobody is told of
	}
	current.Store(false)
	if got := mustGet(t, b, "user:a"); got.Seq != 2 {
		t.Errorf("seq %d is from the LRU", got.Seq)
	}
	if got := mustGet(t, b, "user:b"); got.Seq != 1 {
		t.Errorf("seq %d: another account's is not from the LRU", got.Seq)
	}
	server.Kill()
	if got, ok, err := b.Get(t.Context(), "user:a"); ok || err == nil {
		t.Errorf("without Redis: %+v, %v", got, err)
	}
	current.Store(true)
	if got := mustGet(t, b, "user:a"); got.Seq != 2 {
		t.Errorf("seq %d from the LRU", got.Seq)
	}
}

func TestDisabledAsksEachTime(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Disabled: true})
		for seq := int64(1); seq < 4; seq++ {
			publishState(t, p, "user:a", seq)
			if got := mustGet(t, b, "user:a").Seq; got != seq {
				t.Errorf("seq %d; want %d", got, seq)
			}
		}
	})
}

func TestAccountsLeaveAfterTheirTTL(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		publishState(t, p, "user:a", 1)
		b := cache.New(rdb, cache.Config{Keys: keys, TTL: 50 * time.Millisecond, Current: always})
		mustGet(t, b, "user:a")
		publishState(t, p, "user:a", 2) // and nobody tells
		waitUntil(t, "the new balance", func() bool { return mustGet(t, b, "user:a").Seq == 2 })
	})
}

func TestSeenDuringALoadIsHonoured(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	p := publish.New(openRedis(t, server.URL()), publish.Config{})
	publishState(t, p, "user:a", 1)
	reg := prometheus.NewRegistry()
	slow := openRedis(t, "redis://"+proxy.Addr())
	if err := slow.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b := cache.New(slow, cache.Config{Registerer: reg})
	proxy.PauseReplies()
	const callers = 20
	results := make(chan int64, callers)
	for range callers {
		go func() {
			balance, _, err := b.Get(context.Background(), "user:a")
			if err != nil {
				t.Error(err)
			}
			results <- balance.Seq
		}()
	}
	waitUntil(t, "all callers", func() bool { return readCounter(t, reg, "balance_cache_misses_total") == callers })
	publishState(t, p, "user:a", 2)
	b.Seen("user:a", 2)
	proxy.Resume()
	for range callers {
		if seq := <-results; seq < 2 {
			t.Errorf("a caller got seq %d after 2 was seen", seq)
		}
	}
}

func waitUntil(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestGetIsNeverOlderThanSeen has a writer, that publishes and then tells what it published, and
// readers that compare; the LRU is far too small, so accounts leave it all the time.
func TestGetIsNeverOlderThanSeen(t *testing.T) {
	onEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Size: 4})
		var seen [12]atomic.Int64
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					n := i % len(seen)
					floor := seen[n].Load()
					balance, ok, err := b.Get(context.Background(), fmt.Sprintf("user:%d", n))
					if err != nil || (ok && balance.Seq < floor) || (!ok && floor > 0) {
						t.Errorf("user:%d: seq %d, ok %v, error %v after %d was seen", n, balance.Seq, ok, err, floor)
						return
					}
				}
			})
		}
		for seq := int64(1); seq <= 60; seq++ {
			for n := range seen {
				account := fmt.Sprintf("user:%d", n)
				publishState(t, p, account, seq)
				b.Seen(account, seq)
				seen[n].Store(seq)
			}
		}
		close(stop)
		readers.Wait()
	})
}

// fillCache returns a cache on an empty Redis, and what puts an account into both.
func fillCache(b *testing.B) (c *cache.Balances, fill func(account string)) {
	b.Helper()
	url, namespace := testenv.Redis(b)
	rdb, keys := openRedis(b, url), bus.Keys{Namespace: namespace, Partitions: 4}
	p := publish.New(rdb, publish.Config{Keys: keys})
	c = cache.New(rdb, cache.Config{Keys: keys, Current: always})
	return c, func(account string) {
		publishState(b, p, account, 1)
		mustGet(b, c, account)
	}
}

func BenchmarkSeen(b *testing.B) {
	const accounts = 4096
	c, fill := fillCache(b)
	for i := range accounts {
		fill(fmt.Sprintf("user:cached-%d", i))
	}
	for _, kind := range []string{"cached", "absent"} {
		names := make([]string, accounts)
		for i := range names {
			names[i] = fmt.Sprintf("user:%s-%d", kind, i)
		}
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Seen(names[i%len(names)], int64(i))
			}
		})
	}
}

func BenchmarkGetHit(b *testing.B) {
	c, fill := fillCache(b)
	fill("user:a")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = c.Get(b.Context(), "user:a")
	}
}

// always says that Seen is called for every event.
func always(string) bool { return true }

// A cache that nobody wires reads Redis on each Get: it shows a balance that changed since the last one.
func TestPlainCacheIsRight(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	rdb := openRedis(t, redisURL)
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	b := cache.New(rdb, cache.Config{Keys: keys})
	for seq := int64(1); seq <= 3; seq++ {
		fields := map[string]any{"available": 10 * seq, "escrow": 0, "seq": seq, "updatedAt": "2026-11-29T00:00:00.000Z"}
		if err := rdb.HSet(t.Context(), keys.BalanceHash("user:a"), fields).Err(); err != nil {
			t.Fatal(err)
		}
		balance, ok, err := b.Get(t.Context(), "user:a")
		if err != nil || !ok || balance.Available != 10*seq {
			t.Errorf("seq %d: %+v, %v, %v", seq, balance, ok, err)
		}
	}
}
