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

// relayWith starts a relay; the returned function stops it and waits.
func relayWith(t testing.TB, src relay.Source, rdb redis.UniversalClient, keys bus.Keys, cfg relay.Config) (*relay.Relay, func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = streamtest.Quiet()
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

// entriesOf lists an account's seqs in its stream, repeats and all.
func entriesOf(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string) (list []int64) {
	t.Helper()
	for _, text := range streamtest.Stream(t, rdb, keys, account) {
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, seq)
	}
	return list
}

func waitStream(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string, first, last int64) {
	t.Helper()
	var got []int64
	defer func() {
		if t.Failed() {
			t.Logf("%s has %v; want %d to %d", account, got, first, last)
		}
	}()
	streamtest.WaitFor(t, account+"'s stream", func() bool {
		got = entriesOf(t, rdb, keys, account)
		return slices.Equal(got, streamtest.UpTo(first, last))
	})
}

func TestRelayPublishesOffersAndEmptiesTheOutbox(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		reg := prometheus.NewRegistry()
		// No sweep but the first can help.
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Sweep: time.Hour, Registerer: reg})
		for i := range 500 {
			src.run(r, 1+i%3, fmt.Sprintf("user:%d", i%7), "model:m")
		}
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		for _, a := range []string{"user:0", "user:6", "model:m"} {
			waitStream(t, rdb, keys, a, 1, src.lastSeq(a))
		}
		// An answer that came too late is a duplicate when it is asked for again.
		got, late := streamtest.MetricSum(t, reg, "wallet_event_published_total"), streamtest.MetricSum(t, reg, "wallet_event_publish_error_total")
		if got > 1998 || (got < 1998 && late == 0) {
			t.Errorf("wallet_event_published_total = %v; want 1998", got)
		}
	})
}

func TestRelayPublishesWhatADeadProcessLeft(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		for i := range 1200 { // several pages
			src.run(nil, 2, fmt.Sprintf("user:%d", i%5))
		}
		relayWith(t, src, rdb, keys, relay.Config{Sweep: time.Hour})
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		for i := range 5 {
			waitStream(t, rdb, keys, fmt.Sprintf("user:%d", i), 1, 480)
		}
	})
}

func TestRelayLeavesToTheSweepWhatDoesNotFit(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		r, _ := relayWith(t, src, rdb, keys, relay.Config{MaxQueue: 2, Sweep: time.Hour, Registerer: reg})
		for range 300 {
			src.run(r, 1, "user:a", "user:b")
		}
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:a", 1, 300)
		waitStream(t, rdb, keys, "user:b", 1, 300)
	})
}

// The queue is bounded in bytes too, and has room again when it was published.
func TestRelayBoundsTheBytesOfItsQueue(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		p := publish.New(rdb, publish.Config{Keys: keys})
		r := relay.New(src, p, relay.Config{MaxQueueBytes: 1, MaxBatch: 1, Sweep: 10 * time.Millisecond, MinAge: time.Nanosecond, Registerer: reg})
		for range 3 {
			src.run(r, 1, "user:a")
		}
		if got := streamtest.MetricSum(t, reg, "relay_deferred_total"); got != 2 {
			t.Errorf("%v of 3 transactions were left to the sweep, want 2", got)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running errgroup.Group
		running.Go(func() error { return r.Run(ctx) })
		defer func() { _ = running.Wait() }()
		defer stop()
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		streamtest.WaitFor(t, "room for another one", func() bool {
			before := streamtest.MetricSum(t, reg, "relay_deferred_total")
			src.run(r, 1, "user:a")
			return streamtest.MetricSum(t, reg, "relay_deferred_total") == before
		})
	})
}

func TestRelayPublishesTheQueueWhenItStops(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		r, stop := relayWith(t, src, rdb, keys, relay.Config{Sweep: time.Hour, MaxBatch: 10, Drain: time.Minute})
		for range 200 {
			src.run(r, 1, "user:a")
		}
		stop()
		if got := entriesOf(t, rdb, keys, "user:a"); !slices.Equal(got, streamtest.UpTo(1, 200)) {
			t.Errorf("stream has %v", got)
		}
		if !src.empty() {
			t.Error("the outbox is not empty")
		}
	})
}

func TestRelayWaitsForAPredecessorFromAnotherProcess(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		cfg := relay.Config{Sweep: time.Hour, MinAge: time.Hour}
		a, _ := relayWith(t, src, rdb, keys, cfg)
		b, _ := relayWith(t, src, rdb, keys, cfg)
		var turn [2][]bus.OutboxRow
		for i := range 100 {
			turn[i%2] = append(turn[i%2], src.commit(src.reserve(), 2, "user:a"))
		}
		b.Offer(turn[1])
		a.Offer(turn[0])
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:a", 1, 200)
	})
}

func TestRelayRefillsAnEmptyRedis(t *testing.T) {
	server := testenv.RedisServer(t)
	rdb, keys, src := streamtest.Open(t, server.URL()), bus.Keys{}.WithDefaults(), newMemory()
	r, _ := relayWith(t, src, rdb, keys, relay.Config{})
	for range 50 {
		src.run(r, 1, "user:long", "user:quiet")
	}
	src.run(r, 3, "user:short")
	src.run(r, 3, "user:shortquiet")
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	server.Kill()
	for range 5 {
		src.run(r, 2, "user:long", "user:short")
	}
	if src.empty() {
		t.Fatal("the outbox is empty though Redis is away")
	}
	server.Start()
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	// From the first event that Redis had not acknowledged; or with more of the past, when a
	// sweep was about to publish that past again, from a page that it had read before.
	risesTo := func(account string, first, last int64) {
		streamtest.WaitFor(t, account+"'s stream", func() bool {
			got := entriesOf(t, rdb, keys, account)
			return len(got) > 0 && got[0] <= first && slices.Equal(got, streamtest.UpTo(got[0], last))
		})
	}
	risesTo("user:long", 51, 60)
	waitStream(t, rdb, keys, "user:short", 1, 13)     // its past is short enough to be brought back
	waitStream(t, rdb, keys, "user:shortquiet", 1, 3) // nothing new would have
	risesTo("user:quiet", 50, 50)                     // its newest event, for the snapshot
	if got := rdb.HGet(t.Context(), keys.BalanceHash("user:quiet"), "available").Val(); got != "5000" {
		t.Errorf("the quiet account's snapshot has available %q", got)
	}
}

// loseSince makes Redis forget what it has of an account after seq, as a failover to a
// lagging replica does.
func loseSince(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string, seq int64) {
	t.Helper()
	partition := keys.Partition(account)
	entries, err := rdb.XRange(t.Context(), keys.Stream(partition), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n, _ := strconv.ParseInt(fmt.Sprint(e.Values["seq"]), 10, 64)
		if e.Values["account"] == account && n > seq {
			rdb.XDel(t.Context(), keys.Stream(partition), e.ID)
			rdb.Del(t.Context(), keys.Dedup(partition, fmt.Sprint(e.Values["key"])))
		}
	}
	if seq == 0 {
		rdb.Del(t.Context(), keys.BalanceHash(account))
	} else {
		rdb.HSet(t.Context(), keys.BalanceHash(account), "seq", seq)
	}
}

func TestRelayRepublishesWhatAFailoverLost(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg})
		for range 200 {
			src.run(r, 2, "user:a")
		}
		src.run(r, 9, "user:b")
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		loseSince(t, rdb, keys, "user:a", 100)
		loseSince(t, rdb, keys, "user:b", 0)
		src.run(r, 1, "user:a", "user:b")
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:a", 1, 401)
		waitStream(t, rdb, keys, "user:b", 1, 10)
		if got := streamtest.MetricSum(t, reg, "relay_republished_total"); got < 151 {
			t.Errorf("relay_republished_total = %v; want 151, and what the first comparison met on its way", got)
		}
	})
}

func TestRelayHealsQuietAccountsAfterAReconnect(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	direct, keys, src := streamtest.Open(t, server.URL()), bus.Keys{}.WithDefaults(), newMemory()
	r, _ := relayWith(t, src, streamtest.Open(t, "redis://"+proxy.Addr()+"?max_retries=-1"), keys, relay.Config{Check: time.Hour}) // a check would meet the pause first
	for range 20 {
		src.run(r, 2, "user:a")
	}
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	loseSince(t, direct, keys, "user:a", 10)
	proxy.PauseReplies()
	src.run(r, 1, "user:b") // whose reply is lost
	streamtest.WaitFor(t, "user:b's event", func() bool { return len(entriesOf(t, direct, keys, "user:b")) == 1 })
	proxy.Cut()
	proxy.Resume()
	waitStream(t, direct, keys, "user:a", 1, 40)
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	waitStream(t, direct, keys, "user:b", 1, 1)
}

func TestRelayPublishesTheRestOfAGroupThatRedisHasInPart(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		src.run(nil, 5, "user:a")
		src.run(nil, 2, "user:a")
		rdb.HSet(t.Context(), keys.BalanceHash("user:a"), "seq", 3)
		relayWith(t, src, rdb, keys, relay.Config{})
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:a", 4, 7)
	})
}

func TestRelayTakesAsBaseOnlyTheFirstRowThereIs(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemory()
		for range 100 {
			src.run(nil, 1, "user:a")
		}
		published := streamtest.UpTo(1, 90)
		if err := src.Published(t.Context(), published); err != nil {
			t.Fatal(err)
		}
		src.hide[91], src.hide[92] = true, true // committed just after the page is read
		relayWith(t, src, rdb, keys, relay.Config{})
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:a", 91, 100)
	})
}

func TestRelayKeepsOneBadAccountFromTheOthers(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		rdb.Set(t.Context(), keys.BalanceHash("user:bad"), "no hash", 0)
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg, MinAge: time.Millisecond})
		for range 50 {
			src.run(r, 1, "user:bad", "model:m")
			src.run(r, 1, "user:a", "model:m")
		}
		waitStream(t, rdb, keys, "user:a", 1, 50)
		waitStream(t, rdb, keys, "model:m", 1, 100)
		streamtest.WaitFor(t, "the alarm", func() bool { return streamtest.MetricSum(t, reg, "relay_outbox_backlog") == 50 })
		rdb.Del(t.Context(), keys.BalanceHash("user:bad"))
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitStream(t, rdb, keys, "user:bad", 1, 50)
	})
}

func TestRelayDoesNotWaitForARedisThatHangs(t *testing.T) {
	server := testenv.RedisServer(t)
	direct, keys, src := streamtest.Open(t, server.URL()), bus.Keys{}.WithDefaults(), newMemory()
	reg := prometheus.NewRegistry()
	hasty := streamtest.Open(t, server.URL()+"?read_timeout=100ms&max_retries=-1")
	r, _ := relayWith(t, src, hasty, keys, relay.Config{Registerer: reg, MaxQueue: 100})
	src.run(r, 1, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	server.Stop()
	start := time.Now()
	for range 1000 {
		src.run(r, 1, "user:a")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("1000 offers took %v", took)
	}
	streamtest.WaitFor(t, "the backlog gauge", func() bool { return streamtest.MetricSum(t, reg, "relay_outbox_backlog") == 1000 })
	streamtest.WaitFor(t, "the age gauge", func() bool { return streamtest.MetricSum(t, reg, "relay_outbox_oldest_age_seconds") > 0.05 })
	server.Continue()
	streamtest.WaitFor(t, "an empty outbox", src.empty)
	waitStream(t, direct, keys, "user:a", 1, 1001)
}

func TestRelayTellsWhenRedisIsAheadOfTheLedger(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		src.run(nil, 5, "user:a")
		rdb.HSet(t.Context(), keys.BalanceHash("user:a"), "seq", 9)
		relayWith(t, src, rdb, keys, relay.Config{Registerer: reg})
		streamtest.WaitFor(t, "the alarm", func() bool { return streamtest.MetricSum(t, reg, "relay_ahead_total") > 0 })
	})
}

// An asynchronous standby takes over from the ledger's database, and lacks its last commits.
func TestRelayTellsWhenTheLedgerLosesCommits(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg})
		for range 9 {
			src.run(r, 1, "user:a")
		}
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		waitMarks(t, rdb, keys, time.Now()) // the first comparison is over
		src.mu.Lock()
		src.groups["user:a"] = src.groups["user:a"][:5] // 6 to 9 are gone
		src.mu.Unlock()
		src.run(r, 1, "user:a") // another 6
		streamtest.WaitFor(t, "the alarm", func() bool { return streamtest.MetricSum(t, reg, "relay_ahead_total") > 0 })
	})
}

// A row that is published once more, though later ones of its account are published, is no alarm.
func TestRelayTakesARepeatForARepeat(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src, reg := newMemory(), prometheus.NewRegistry()
		r, _ := relayWith(t, src, rdb, keys, relay.Config{Registerer: reg})
		var rows []bus.OutboxRow
		for range 9 {
			rows = append(rows, src.commit(src.reserve(), 1, "user:a"))
		}
		r.Offer(rows)
		streamtest.WaitFor(t, "an empty outbox", src.empty)
		asked := src.asked("user:a")
		r.Offer(rows[:5])
		streamtest.WaitFor(t, "a question to the ledger", func() bool { return src.asked("user:a") > asked })
		waitMarks(t, rdb, keys, time.Now()) // the pass is over
		if got := streamtest.MetricSum(t, reg, "relay_ahead_total"); got != 0 {
			t.Errorf("relay_ahead_total = %v", got)
		}
	})
}
