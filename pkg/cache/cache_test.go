package cache_test

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/cache"
)

// publishState publishes the state of an account at seq.
func publishState(t testing.TB, p *publish.Publisher, account string, seq int64) {
	t.Helper()
	update := bus.AccountUpdate{
		Key:     fmt.Sprintf("%s-%d", account, seq),
		Account: account,
		Before:  streamtest.ChainAt(account, seq-1),
		Deliveries: []bus.Delivery{{
			ID:      "id",
			Type:    "t",
			Account: account,
			Seq:     seq,
			Chain:   streamtest.ChainAt(account, seq),
			Data:    []byte("{}"),
		}},
		Balance: bus.Balance{
			Account:   account,
			Available: 100 * seq,
			Escrow:    seq,
			Earned:    10 * seq,
			Seq:       seq,
			UpdatedAt: updatedAt(seq),
		},
	}
	outcomes, err := p.Publish(t.Context(), []publish.Publication{{Update: update, AsStartingPoint: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !outcomes[0].Done() {
		t.Fatalf("got outcome %v, want it to be done", outcomes[0])
	}
}

func updatedAt(seq int64) time.Time { return time.UnixMilli(1_700_000_000_000 + seq).UTC() }

// mustGet returns the balance of an account, which must be complete.
func mustGet(t testing.TB, b *cache.Balances, account string) bus.Balance {
	t.Helper()
	balance, ok, err := b.Get(t.Context(), account)
	if err != nil || !ok {
		t.Fatalf("Get(%s): got ok %v, error %v", account, ok, err)
	}
	return balance
}

// checkSeq checks the seq of an account's balance.
func checkSeq(t testing.TB, b *cache.Balances, account string, want int64) {
	t.Helper()
	got := mustGet(t, b, account).Seq
	if got != want {
		t.Errorf("%s: got seq %d, want %d", account, got, want)
	}
}

// isCurrent is a Config.Current for tests that call Seen for every event.
func isCurrent(string) bool { return true }

func checkCounter(t testing.TB, reg *prometheus.Registry, name string, want float64) {
	t.Helper()
	got := readCounter(t, reg, name)
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func readCounter(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			sum += family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return sum
}

func TestGetReadsHash(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys})
		publishState(t, p, "user:a", 7)
		publishState(t, p, "model:m", 3)
		for _, want := range []bus.Balance{
			{
				Account:   "user:a",
				Available: 700,
				Escrow:    7,
				Seq:       7,
				Chain:     streamtest.ChainAt("user:a", 7),
				UpdatedAt: updatedAt(7),
			},
			{
				Account:   "model:m",
				Earned:    30,
				Seq:       3,
				Chain:     streamtest.ChainAt("model:m", 3),
				UpdatedAt: updatedAt(3),
			},
		} {
			got := mustGet(t, b, want.Account)
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	})
}

func TestGetKeepsBalanceUntilSeen(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		reg := prometheus.NewRegistry()
		b := cache.New(rdb, cache.Config{Keys: keys, Registerer: reg, Current: isCurrent})
		publishState(t, p, "user:a", 7)
		publishState(t, p, "model:m", 3)
		for range 3 {
			checkSeq(t, b, "user:a", 7)
			checkSeq(t, b, "model:m", 3)
		}
		checkCounter(t, reg, "realtime_balance_cache_hits_total", 4)
		checkCounter(t, reg, "realtime_balance_cache_misses_total", 2)

		publishState(t, p, "user:a", 8)
		checkSeq(t, b, "user:a", 7)
		b.Seen("user:a", 8)
		checkSeq(t, b, "user:a", 8)
		checkCounter(t, reg, "realtime_balance_cache_stale_total", 1)
	})
}

// checkIncomplete checks that Get reports an incomplete balance.
func checkIncomplete(t *testing.T, b *cache.Balances, account string) {
	t.Helper()
	balance, ok, err := b.Get(t.Context(), account)
	if err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if ok || balance != (bus.Balance{}) {
		t.Errorf("got %+v, ok %v, want no balance", balance, ok)
	}
}

func TestGetReportsIncompleteHash(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
		publishAgain := func(t *testing.T, account string) {
			t.Helper()
			dedup := keys.Dedup(keys.Partition(account), account+"-7")
			rdb.Del(t.Context(), keys.BalanceHash(account), dedup)
			publishState(t, p, account, 7)
		}
		t.Run("absent", func(t *testing.T) { checkIncomplete(t, b, "user:a") })
		for account, fields := range map[string][]string{
			"user:a":  {"available", "escrow", "seq", "chain", "updatedAt"},
			"model:m": {"earned", "seq", "chain", "updatedAt"},
		} {
			for _, field := range fields {
				for _, value := range []string{"", "x", "-1", "1.5", "99999999999999999999"} {
					t.Run(account+" "+field+"="+value, func(t *testing.T) {
						publishAgain(t, account)
						rdb.HSet(t.Context(), keys.BalanceHash(account), field, value)
						checkIncomplete(t, b, account)
					})
				}
				t.Run(account+" without "+field, func(t *testing.T) {
					publishAgain(t, account)
					rdb.HDel(t.Context(), keys.BalanceHash(account), field)
					checkIncomplete(t, b, account)
				})
			}
		}
		t.Run("complete again", func(t *testing.T) {
			publishAgain(t, "user:a")
			checkSeq(t, b, "user:a", 7)
		})
	})
}

// checkStale checks that Get returns ErrStale.
func checkStale(t *testing.T, b *cache.Balances, account string) {
	t.Helper()
	balance, ok, err := b.Get(t.Context(), account)
	if ok || !errors.Is(err, cache.ErrStale) {
		t.Errorf("got %+v, ok %v, error %v, want ErrStale", balance, ok, err)
	}
}

func TestGetReportsStaleHash(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
		publishState(t, p, "user:a", 7)
		mustGet(t, b, "user:a")
		b.Seen("user:a", 9)
		checkStale(t, b, "user:a")
		publishState(t, p, "user:a", 8)
		checkStale(t, b, "user:a")
		publishState(t, p, "user:a", 9)
		checkSeq(t, b, "user:a", 9)
	})
}

func TestGetReportsUnreachableRedis(t *testing.T) {
	b := cache.New(streamtest.Open(t, "redis://127.0.0.1:1?max_retries=-1"), cache.Config{})
	_, ok, err := b.Get(t.Context(), "user:a")
	var refused *net.OpError
	if ok || !errors.As(err, &refused) {
		t.Errorf("got ok %v, error %v, want a *net.OpError", ok, err)
	}
}

// A read of a hanging Redis times out. Later calls return an error at once, until the pause is over.
func TestGetPausesAfterTimeout(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	const timeout = 300 * time.Millisecond
	b := cache.New(streamtest.Open(t, server.URL()), cache.Config{Timeout: timeout, Current: isCurrent})
	server.Stop()
	start := time.Now()
	for i := range 200 {
		_, ok, err := b.Get(t.Context(), fmt.Sprintf("user:u%d", i))
		if ok || err == nil {
			t.Errorf("got ok %v, error %v, want an error", ok, err)
		}
	}
	elapsed := time.Since(start)
	if elapsed > 100*timeout {
		t.Errorf("200 calls took %v, want at most %v", elapsed, 100*timeout)
	}

	server.Continue()
	waitUntil(t, "Redis to be read again", func() bool {
		_, _, err := b.Get(t.Context(), "user:u1")
		return err == nil
	})
}

func TestForget(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
		publishState(t, p, "user:a", 1)
		mustGet(t, b, "user:a")
		b.Seen("user:a", 1)
		publishState(t, p, "user:a", 2) // without Seen
		checkSeq(t, b, "user:a", 1)
		b.Forget()
		checkSeq(t, b, "user:a", 2)
	})
}

func TestForgetKeepsSeen(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
		publishState(t, p, "user:a", 2)
		mustGet(t, b, "user:a")
		b.Seen("user:a", 3)
		b.Forget()
		checkStale(t, b, "user:a")
	})
}

// Get uses the LRU only for accounts that are current.
func TestGetReadsRedisWithoutCurrent(t *testing.T) {
	server := testenv.RedisServer(t)
	p := publish.New(streamtest.Open(t, server.URL()), publish.Config{})
	var current atomic.Bool
	current.Store(true)
	b := cache.New(streamtest.Open(t, server.URL()), cache.Config{
		Current: func(account string) bool { return account != "user:a" || current.Load() },
	})
	for _, account := range []string{"user:a", "user:b"} {
		publishState(t, p, account, 1)
		mustGet(t, b, account)
		publishState(t, p, account, 2) // without Seen
	}

	current.Store(false)
	checkSeq(t, b, "user:a", 2)
	checkSeq(t, b, "user:b", 1)
	server.Kill()
	balance, ok, err := b.Get(t.Context(), "user:a")
	if ok || err == nil {
		t.Errorf("without Redis: got %+v, ok %v, error %v, want an error", balance, ok, err)
	}

	current.Store(true)
	checkSeq(t, b, "user:a", 2)
}

func TestDisabledReadsRedis(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Disabled: true})
		for seq := int64(1); seq < 4; seq++ {
			publishState(t, p, "user:a", seq)
			checkSeq(t, b, "user:a", seq)
		}
	})
}

// RequireSeq also counts for an account that was never read, and without the LRU.
func TestRequireSeqRefusesOlderBalance(t *testing.T) {
	for name, disabled := range map[string]bool{"cache": false, "no cache": true} {
		t.Run(name, func(t *testing.T) {
			streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
				p := publish.New(rdb, publish.Config{Keys: keys})
				publishState(t, p, "user:a", 1)
				b := cache.New(rdb, cache.Config{Keys: keys, Disabled: disabled, Current: isCurrent})
				b.RequireSeq("user:a", 2)
				for range 2 {
					_, _, err := b.Get(t.Context(), "user:a")
					if !errors.Is(err, cache.ErrStale) {
						t.Errorf("got error %v, want ErrStale", err)
					}
				}
				publishState(t, p, "user:a", 2)
				checkSeq(t, b, "user:a", 2)
			})
		})
	}
}

func TestAccountsExpire(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		publishState(t, p, "user:a", 1)
		b := cache.New(rdb, cache.Config{Keys: keys, TTL: 50 * time.Millisecond, Current: isCurrent})
		mustGet(t, b, "user:a")
		publishState(t, p, "user:a", 2) // without Seen
		waitUntil(t, "the new balance", func() bool { return mustGet(t, b, "user:a").Seq == 2 })
	})
}

// The default configuration does not need Seen: each Get reads Redis.
func TestDefaultConfigReadsRedis(t *testing.T) {
	redisURL, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, redisURL)
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	b := cache.New(rdb, cache.Config{Keys: keys})
	for seq := int64(1); seq <= 3; seq++ {
		fields := map[string]any{
			"available": 10 * seq,
			"escrow":    0,
			"seq":       seq,
			"chain":     streamtest.ChainAt("user:a", seq).String(),
			"updatedAt": "2026-11-29T00:00:00.000Z",
		}
		err := rdb.HSet(t.Context(), keys.BalanceHash("user:a"), fields).Err()
		if err != nil {
			t.Fatal(err)
		}
		got := mustGet(t, b, "user:a").Available
		if got != 10*seq {
			t.Errorf("got available %d, want %d", got, 10*seq)
		}
	}
}

// After Rewind, Get does not return the cached balance, and accepts an older one.
func TestRewindForgetsBalance(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		b := cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
		publishState(t, p, "user:a", 1)
		publishState(t, p, "user:a", 2)
		b.Seen("user:a", 2)
		checkSeq(t, b, "user:a", 2)

		err := rdb.Del(t.Context(), keys.BalanceHash("user:a")).Err()
		if err != nil {
			t.Fatal(err)
		}
		checkSeq(t, b, "user:a", 2) // from the cache
		err = rdb.Del(t.Context(), keys.Dedup(keys.Partition("user:a"), "user:a-1")).Err()
		if err != nil {
			t.Fatal(err)
		}
		publishState(t, p, "user:a", 1)
		b.Rewind("user:a", 1)
		checkSeq(t, b, "user:a", 1)
		b.Rewind("user:unknown", 1) // nothing to forget
	})
}
