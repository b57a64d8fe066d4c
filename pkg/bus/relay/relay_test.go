package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// startRelay starts a relay. The returned function stops it and waits for its end.
func startRelay(t testing.TB, src relay.Source, rdb redis.UniversalClient, keys bus.Keys, cfg relay.Config) (*relay.Relay, func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = streamtest.DiscardLogger()
	}
	setIfZero(&cfg.Sweep, 20*time.Millisecond)
	setIfZero(&cfg.Check, 20*time.Millisecond)
	setIfZero(&cfg.MinAge, 10*time.Millisecond)
	setIfZero(&cfg.MaxBackoff, 50*time.Millisecond)
	r := relay.New(src, publish.New(rdb, publish.Config{Keys: keys}), cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func setIfZero(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// readSeqs lists an account's seqs in its stream, including repeats.
func readSeqs(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string) (list []int64) {
	t.Helper()
	for _, text := range streamtest.ListStreamSeqs(t, rdb, keys, account) {
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, seq)
	}
	return list
}

// waitForSeqs waits until the account's stream has the seqs from first to last.
func waitForSeqs(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string, first, last int64) {
	t.Helper()
	var got []int64
	defer func() {
		if t.Failed() {
			t.Logf("%s: got seqs %v, want %d to %d", account, got, first, last)
		}
	}()
	streamtest.WaitFor(t, account+"'s stream", func() bool {
		got = readSeqs(t, rdb, keys, account)
		return slices.Equal(got, streamtest.SeqRange(first, last))
	})
}

func TestRelayPublishesOffersAndEmptiesTheOutbox(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		// Only the first sweep runs during the test.
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Sweep: time.Hour, Registerer: reg})
		for i := range 500 {
			src.commitAndOffer(r, 1+i%3, fmt.Sprintf("user:%d", i%7), "model:m")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		for _, a := range []string{"user:0", "user:6", "model:m"} {
			waitForSeqs(t, rdb, keys, a, 1, src.lastSeq(a))
		}
		// After a reply that came too late, the events count as duplicates.
		published := streamtest.SumMetric(t, reg, "realtime_relay_events_published_total")
		failures := streamtest.SumMetric(t, reg, "realtime_relay_publish_errors_total")
		if published > 1998 {
			t.Errorf("got realtime_relay_events_published_total %v, want 1998", published)
		}
		if published < 1998 && failures == 0 {
			t.Errorf("got realtime_relay_events_published_total %v without failures, want 1998", published)
		}
	})
}

func TestSweepPublishesRowsOfADeadProcess(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		for i := range 1200 { // several pages
			src.commitAndOffer(nil, 2, fmt.Sprintf("user:%d", i%5))
		}
		startRelay(t, src, rdb, keys, relay.Config{Sweep: time.Hour})
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		for i := range 5 {
			waitForSeqs(t, rdb, keys, fmt.Sprintf("user:%d", i), 1, 480)
		}
	})
}

func TestSweepPublishesRowsThatDoNotFitIntoTheQueue(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		r, _ := startRelay(t, src, rdb, keys, relay.Config{MaxQueue: 2, Sweep: time.Hour, Registerer: reg})
		for range 300 {
			src.commitAndOffer(r, 1, "user:a", "user:b")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:a", 1, 300)
		waitForSeqs(t, rdb, keys, "user:b", 1, 300)
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		p := publish.New(rdb, publish.Config{Keys: keys})
		r := relay.New(src, p, relay.Config{MaxQueueBytes: 1, MaxBatch: 1, Sweep: 10 * time.Millisecond, MinAge: time.Nanosecond, Registerer: reg})
		for range 3 {
			src.commitAndOffer(r, 1, "user:a")
		}
		if got := streamtest.SumMetric(t, reg, "realtime_relay_deferred_total"); got != 2 {
			t.Errorf("got realtime_relay_deferred_total %v after 3 offers, want 2", got)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running errgroup.Group
		running.Go(func() error { return r.Run(ctx) })
		defer func() { _ = running.Wait() }()
		defer stop()
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		streamtest.WaitFor(t, "room in the queue", func() bool {
			before := streamtest.SumMetric(t, reg, "realtime_relay_deferred_total")
			src.commitAndOffer(r, 1, "user:a")
			return streamtest.SumMetric(t, reg, "realtime_relay_deferred_total") == before
		})
	})
}

func TestRelayPublishesTheQueueWhenItStops(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		r, stop := startRelay(t, src, rdb, keys, relay.Config{Sweep: time.Hour, MaxBatch: 10, Drain: time.Minute})
		for range 200 {
			src.commitAndOffer(r, 1, "user:a")
		}
		stop()
		if got := readSeqs(t, rdb, keys, "user:a"); !slices.Equal(got, streamtest.SeqRange(1, 200)) {
			t.Errorf("got seqs %v, want 1 to 200", got)
		}
		if !src.isEmpty() {
			t.Error("got rows in the outbox, want none")
		}
	})
}

func TestRelayWaitsForAPredecessorFromAnotherProcess(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		cfg := relay.Config{Sweep: time.Hour, MinAge: time.Hour}
		a, _ := startRelay(t, src, rdb, keys, cfg)
		b, _ := startRelay(t, src, rdb, keys, cfg)
		var rows [2][]bus.OutboxRow // alternate rows
		for i := range 100 {
			rows[i%2] = append(rows[i%2], src.commit(src.reserveID(), 2, "user:a"))
		}
		b.Offer(rows[1])
		a.Offer(rows[0])
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:a", 1, 200)
	})
}

func TestRelayRefillsAnEmptyRedis(t *testing.T) {
	server := testenv.RedisServer(t)
	rdb := streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{})
	for range 50 {
		src.commitAndOffer(r, 1, "user:long", "user:quiet")
	}
	src.commitAndOffer(r, 3, "user:short")
	src.commitAndOffer(r, 3, "user:shortquiet")
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	server.Kill()
	for range 5 {
		src.commitAndOffer(r, 2, "user:long", "user:short")
	}
	if src.isEmpty() {
		t.Fatal("got an empty outbox while Redis is down, want rows")
	}
	server.Start()
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	// The stream starts at the first event that Redis had not acknowledged. It starts earlier when
	// a sweep had read a page with older events just before the restart.
	waitForRise := func(account string, first, last int64) {
		streamtest.WaitFor(t, account+"'s stream", func() bool {
			got := readSeqs(t, rdb, keys, account)
			return len(got) > 0 && got[0] <= first && slices.Equal(got, streamtest.SeqRange(got[0], last))
		})
	}
	waitForRise("user:long", 51, 60)
	waitForSeqs(t, rdb, keys, "user:short", 1, 13)     // few events, so all are published again
	waitForSeqs(t, rdb, keys, "user:shortquiet", 1, 3) // the comparison publishes them
	waitForRise("user:quiet", 50, 50)                  // its newest event, for the snapshot
	quiet, _ := src.UpdatesAfter(t.Context(), "user:quiet", 49, 1)
	want := strconv.FormatInt(quiet[0].Balance.Available, 10)
	if got := rdb.HGet(t.Context(), keys.BalanceHash("user:quiet"), "available").Val(); got != want {
		t.Errorf("got available %q in the quiet account's snapshot, want %s", got, want)
	}
}

// loseEventsAfter deletes an account's events after seq from Redis, as a failover to a lagging
// replica does.
func loseEventsAfter(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string, seq int64) {
	t.Helper()
	partition := keys.Partition(account)
	entries, err := rdb.XRange(t.Context(), keys.Stream(partition), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	chain := ""
	for _, e := range entries {
		n, _ := strconv.ParseInt(fmt.Sprint(e.Values["seq"]), 10, 64)
		if e.Values["account"] == account && n == seq {
			chain = fmt.Sprint(e.Values["chain"])
		}
		if e.Values["account"] == account && n > seq {
			rdb.XDel(t.Context(), keys.Stream(partition), e.ID)
			rdb.Del(t.Context(), keys.Dedup(partition, fmt.Sprint(e.Values["key"])))
		}
	}
	if seq == 0 {
		rdb.Del(t.Context(), keys.BalanceHash(account))
	} else {
		rdb.HSet(t.Context(), keys.BalanceHash(account), "seq", seq, "chain", chain)
	}
}

func TestRelayRepublishesUpdatesLostInAFailover(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
		for range 200 {
			src.commitAndOffer(r, 2, "user:a")
		}
		src.commitAndOffer(r, 9, "user:b")
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		loseEventsAfter(t, rdb, keys, "user:a", 100)
		loseEventsAfter(t, rdb, keys, "user:b", 0)
		src.commitAndOffer(r, 1, "user:a", "user:b")
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:a", 1, 401)
		waitForSeqs(t, rdb, keys, "user:b", 1, 10)
		if got := streamtest.SumMetric(t, reg, "realtime_relay_republished_total"); got < 151 {
			t.Errorf("got realtime_relay_republished_total %v, want at least 151", got)
		}
	})
}

func TestRelayRepairsQuietAccountsAfterAReconnect(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	r, _ := startRelay(t, src, streamtest.Open(t, "redis://"+proxy.Addr()+"?max_retries=-1"), keys, relay.Config{Check: time.Hour}) // a check would fail first
	for range 20 {
		src.commitAndOffer(r, 2, "user:a")
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	loseEventsAfter(t, direct, keys, "user:a", 10)
	proxy.PauseReplies()
	src.commitAndOffer(r, 1, "user:b") // its reply is lost
	streamtest.WaitFor(t, "user:b's event", func() bool { return len(readSeqs(t, direct, keys, "user:b")) == 1 })
	proxy.Cut()
	proxy.Resume()
	waitForSeqs(t, direct, keys, "user:a", 1, 40)
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForSeqs(t, direct, keys, "user:b", 1, 1)
}

func TestRelayPublishesTheRestOfAPartlyPublishedUpdate(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		src.commitAndOffer(nil, 5, "user:a")
		src.commitAndOffer(nil, 2, "user:a")
		rdb.HSet(t.Context(), keys.BalanceHash("user:a"), "seq", 3, "chain", src.updates["user:a"][0].Deliveries[2].Chain.String())
		startRelay(t, src, rdb, keys, relay.Config{})
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:a", 4, 7)
	})
}

func TestOnlyTheFirstOutboxRowIsAStartingPoint(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		for range 100 {
			src.commitAndOffer(nil, 1, "user:a")
		}
		published := streamtest.SeqRange(1, 90)
		if err := src.Published(t.Context(), published); err != nil {
			t.Fatal(err)
		}
		src.hidden[91] = true
		src.hidden[92] = true // committed just after the page is read
		startRelay(t, src, rdb, keys, relay.Config{})
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:a", 91, 100)
	})
}

func TestBadAccountDoesNotBlockOtherAccounts(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		rdb.Set(t.Context(), keys.BalanceHash("user:bad"), "no hash", 0)
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg, MinAge: time.Millisecond})
		for range 50 {
			src.commitAndOffer(r, 1, "user:bad", "model:m")
			src.commitAndOffer(r, 1, "user:a", "model:m")
		}
		waitForSeqs(t, rdb, keys, "user:a", 1, 50)
		waitForSeqs(t, rdb, keys, "model:m", 1, 100)
		streamtest.WaitFor(t, "a backlog of 50", func() bool { return streamtest.SumMetric(t, reg, "realtime_relay_outbox_backlog") == 50 })
		rdb.Del(t.Context(), keys.BalanceHash("user:bad"))
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		waitForSeqs(t, rdb, keys, "user:bad", 1, 50)
	})
}

func TestOfferDoesNotWaitForAHangingRedis(t *testing.T) {
	server := testenv.RedisServer(t)
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	reg := prometheus.NewRegistry()
	impatient := streamtest.Open(t, server.URL()+"?read_timeout=100ms&max_retries=-1")
	r, _ := startRelay(t, src, impatient, keys, relay.Config{Registerer: reg, MaxQueue: 100})
	src.commitAndOffer(r, 1, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	server.Stop()
	start := time.Now()
	for range 1000 {
		src.commitAndOffer(r, 1, "user:a")
	}
	if duration := time.Since(start); duration > time.Minute {
		t.Errorf("got %v for 1000 offers, want at most a minute", duration)
	}
	streamtest.WaitFor(t, "the backlog gauge", func() bool { return streamtest.SumMetric(t, reg, "realtime_relay_outbox_backlog") == 1000 })
	streamtest.WaitFor(t, "the age gauge", func() bool { return streamtest.SumMetric(t, reg, "realtime_relay_outbox_oldest_age_seconds") > 0.05 })
	server.Continue()
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	waitForSeqs(t, direct, keys, "user:a", 1, 1001)
}

// A row is published again after later rows of its account. This alone is not a fork.
func TestRepeatedRowIsNotAFork(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		reg := prometheus.NewRegistry()
		r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
		var rows []bus.OutboxRow
		for range 9 {
			rows = append(rows, src.commit(src.reserveID(), 1, "user:a"))
		}
		r.Offer(rows)
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		reads := src.positionReads("user:a")
		r.Offer(rows[:5])
		streamtest.WaitFor(t, "a check in the ledger", func() bool { return src.positionReads("user:a") > reads })
		waitForWatermarks(t, rdb, keys, time.Now()) // the pass is over
		if got := streamtest.SumMetric(t, reg, "realtime_relay_forked_accounts_total"); got != 0 {
			t.Errorf("got realtime_relay_forked_accounts_total %v, want 0", got)
		}
	})
}
