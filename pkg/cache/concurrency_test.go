package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
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

func TestSeenDuringRead(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	p := publish.New(streamtest.Open(t, server.URL()), publish.Config{})
	publishState(t, p, "user:a", 1)
	reg := prometheus.NewRegistry()
	slow := streamtest.Open(t, "redis://"+proxy.Addr())
	err := slow.Ping(t.Context()).Err()
	if err != nil {
		t.Fatal(err)
	}
	b := cache.New(slow, cache.Config{Registerer: reg})
	proxy.PauseReplies()
	const callers = 20
	seqs := make(chan int64, callers)
	var running sync.WaitGroup
	defer running.Wait()
	defer proxy.Resume() // also if the test fails before its own call
	for range callers {
		running.Go(func() {
			balance, _, err := b.Get(context.Background(), "user:a")
			if err != nil {
				t.Error(err)
			}
			seqs <- balance.Seq
		})
	}
	waitUntil(t, "all callers", func() bool { return readCounter(t, reg, "realtime_balance_cache_misses_total") == callers })

	publishState(t, p, "user:a", 2)
	b.Seen("user:a", 2)
	proxy.Resume()
	for range callers {
		seq := <-seqs
		if seq < 2 {
			t.Errorf("got seq %d after Seen of 2", seq)
		}
	}
}

// waitUntil polls a condition that has no signal.
func waitUntil(t testing.TB, object string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited five minutes for %s", object)
		}
	}
}

// A writer publishes states and calls Seen, while readers compare. The LRU is small, so that accounts
// are evicted all the time.
func TestGetIsNeverOlderThanSeen(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
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
					if err != nil {
						t.Errorf("user:%d: %v", n, err)
						return
					}
					isMissing := !ok && floor > 0
					if isMissing || ok && balance.Seq < floor {
						t.Errorf("user:%d: got seq %d, ok %v, want at least %d", n, balance.Seq, ok, floor)
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

// A read that is in progress when Rewind is called returns a balance that may never have been true.
// One that is in progress when Forget is called returns a balance that may lack missed events. Neither
// a later Get nor the cache gets it.
func TestBalanceIsForgottenDuringARead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		newSeq int64 // of the balance that is published during the read of balance 7
		forget func(b *cache.Balances)
	}{
		"Rewind": {newSeq: 3, forget: func(b *cache.Balances) { b.Rewind("user:a", 3) }},
		"Forget": {newSeq: 8, forget: func(b *cache.Balances) { b.Forget() }},
	} {
		t.Run(name, func(t *testing.T) {
			server := testenv.RedisServer(t)
			proxy := testenv.NewProxy(t, server.Addr())
			direct := streamtest.Open(t, server.URL())
			keys := bus.Keys{Partitions: 4}.WithDefaults()
			p := publish.New(direct, publish.Config{Keys: keys})
			reg := prometheus.NewRegistry()
			b := cache.New(streamtest.Open(t, "redis://"+proxy.Addr()), cache.Config{
				Keys:       keys,
				Timeout:    5 * time.Minute,
				Current:    isCurrent,
				Registerer: reg,
			})
			publishState(t, p, "user:a", 7)
			publishState(t, p, "user:b", 1)
			mustGet(t, b, "user:b") // connects
			reads := countReads(t, direct)

			proxy.PauseReplies()
			before := make(chan int64, 1)
			go func() {
				balance, _, _ := b.Get(context.Background(), "user:a")
				before <- balance.Seq
			}()
			streamtest.WaitFor(t, "the first read", func() bool { return countReads(t, direct) == reads+1 })
			err := direct.Del(t.Context(), keys.BalanceHash("user:a")).Err()
			if err != nil {
				t.Fatal(err)
			}
			publishState(t, p, "user:a", test.newSeq)
			test.forget(b)
			after := make(chan int64, 1)
			go func() {
				balance, _, _ := b.Get(context.Background(), "user:a")
				after <- balance.Seq
			}()
			const misses = "realtime_balance_cache_misses_total"
			waitUntil(t, "the second miss of user:a", func() bool { return readCounter(t, reg, misses) == 3 })
			proxy.Resume()

			got := <-after
			if got != test.newSeq {
				t.Errorf("a later Get: got seq %d, want %d", got, test.newSeq)
			}
			<-before
			checkSeq(t, b, "user:a", test.newSeq)
		})
	}
}

// Rewind does not undo what another goroutine reports at the same time.
func TestRequireSeqDuringRewind(t *testing.T) {
	url, namespace := testenv.Redis(t)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	rdb := streamtest.Open(t, url)
	b := cache.New(rdb, cache.Config{Keys: keys})
	publishState(t, publish.New(rdb, publish.Config{Keys: keys}), "user:a", 1)
	mustGet(t, b, "user:a")
	for seq := int64(2); seq < 1000; seq++ {
		var running sync.WaitGroup
		running.Go(func() { b.RequireSeq("user:a", seq) })
		running.Go(func() { b.Rewind("user:a", seq) })
		running.Wait()
		_, _, err := b.Get(t.Context(), "user:a")
		if !errors.Is(err, cache.ErrStale) {
			t.Fatalf("Get after RequireSeq of %d: got error %v, want ErrStale", seq, err)
		}
		b.Rewind("user:a", 1)
	}
}

// countReads returns how many balance hashes the server has read.
func countReads(t *testing.T, rdb redis.UniversalClient) (calls int) {
	t.Helper()
	info, err := rdb.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, stats, _ := strings.Cut(info, "cmdstat_hmget:calls=")
	number, _, _ := strings.Cut(stats, ",")
	calls, _ = strconv.Atoi(number)
	return calls
}
