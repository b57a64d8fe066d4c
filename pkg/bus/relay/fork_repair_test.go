package relay_test

import (
	"context"
	"fmt"
	"slices"
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

// All processes were stopped while the ledger was restored, and no new event comes.
func TestRelayHealsQuietAccountsAtItsStart(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		r, stop := startRelay(t, src, rdb, keys, relay.Config{})
		for range 5 {
			src.commitAndOffer(r, 2, "user:a", "model:m")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		backup := src.copyData()
		src.commitAndOffer(r, 2, "user:a", "model:m")
		src.commitAndOffer(r, 1, "user:new")
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		stop()
		src.replaceData(backup)
		reg := prometheus.NewRegistry()
		startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
		waitHealed(t, rdb, keys, src, nil, "user:a", "user:new")
		if got := streamtest.SumMetric(t, reg, "realtime_relay_forked_accounts_total"); got != 3 {
			t.Errorf("got realtime_relay_forked_accounts_total %v, want 3", got)
		}
	})
}

// Three thousand quiet accounts lose their newest events. Two relays repair them side by side.
func TestTwoRelaysHealManyQuietAccounts(t *testing.T) {
	const accounts = 3_000
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	src := newMemorySource()
	names := make([]string, accounts)
	for i := range names {
		names[i] = fmt.Sprint("user:", i)
		src.commitAndOffer(nil, 2, names[i])
	}
	_, stopFirst := startRelay(t, src, rdb, keys, relay.Config{})
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	backup := src.copyData()
	for i, name := range names {
		if i%10 == 0 {
			delete(backup.updates, name) // did not exist yet
			delete(backup.changed, name)
		} else {
			src.commitAndOffer(nil, 2, name)
		}
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	stopFirst()

	src.replaceData(backup)
	start := time.Now()
	var relays [2]*relay.Relay
	var registries [2]*prometheus.Registry
	for i := range relays {
		registries[i] = prometheus.NewRegistry()
		relays[i], _ = startRelay(t, src, streamtest.Open(t, url), keys, relay.Config{Registerer: registries[i]})
	}
	streamtest.WaitFor(t, "the forks", func() bool { return relays[0].CheckHistory() != nil || relays[1].CheckHistory() != nil })
	streamtest.WaitFor(t, "the end of both comparisons", func() bool {
		return relays[0].CheckHistory() == nil && relays[1].CheckHistory() == nil && rdb.Exists(t.Context(), keys.Forked()).Val() == 0
	})
	t.Logf("healed in %v", time.Since(start))
	waitHealed(t, rdb, keys, src, nil, names...)
	rewound := 0.0
	for i := range registries {
		rewound += streamtest.SumMetric(t, registries[i], "realtime_relay_forked_accounts_total")
	}
	if rewound != accounts {
		t.Errorf("got %v rewinds, want %v", rewound, accounts)
	}
	for account, n := range countMarkers(t, rdb, keys) {
		if n != 1 {
			t.Fatalf("%s: got %d markers, want 1", account, n)
		}
	}
}

func countMarkers(t testing.TB, rdb redis.UniversalClient, keys bus.Keys) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for i := range keys.Partitions {
		for _, e := range rdb.XRange(t.Context(), keys.Stream(i), "-", "+").Val() {
			if e.Values["type"] == bus.TypeHistoryChanged {
				counts[fmt.Sprint(e.Values["account"])]++
			}
		}
	}
	return counts
}

// A process died after it had rewound an account and before it published what follows.
func TestRelayGoesOnAfterACrashInTheMiddle(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		r, stop := startRelay(t, src, rdb, keys, relay.Config{})
		for range 5 {
			src.commitAndOffer(r, 2, "user:a", "user:b")
		}
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		stop()
		updates, _ := src.UpdatesAfter(t.Context(), "user:a", 2, 10)
		newest := src.newest("user:a")
		rewind := publish.Rewind{
			Account:   "user:a",
			HashSeq:   fmt.Sprint(newest.Seq),
			HashChain: newest.Chain.String(),
			To:        updates[0].Balance,
		}
		for _, u := range updates[1:] {
			rewind.Again = append(rewind.Again, u.Key)
		}
		done, err := publish.New(rdb, publish.Config{Keys: keys}).Rewind(t.Context(), []publish.Rewind{rewind})
		if err != nil || !done[0] {
			t.Fatalf("rewind: got %v, %v", done, err)
		}
		backdateChange(t, src, rdb, keys, "user:a", time.Now().Add(-24*time.Hour)) // too old for the quiet comparison
		for i := range keys.Partitions {
			rdb.Set(t.Context(), keys.Relayed(i), time.Now().UnixMilli(), 0)
		}
		rdb.Set(t.Context(), keys.Forked(), "of the process that died", 0)
		startRelay(t, src, rdb, keys, relay.Config{})
		waitHealed(t, rdb, keys, src, nil, "user:a", "user:b")
	})
}

// Rows that were committed at the former database and wait in memory, or are announced only now, must
// never be published.
func TestQueuedRowsOfTheFormerDatabaseAreDiscarded(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		setUp, stop := startRelay(t, src, rdb, keys, relay.Config{})
		commitSome(t, src, setUp, 3)
		stop()

		backup := src.copyData()
		r := relay.New(src, publish.New(rdb, publish.Config{Keys: keys}), relay.Config{
			Logger: streamtest.DiscardLogger(),
			Sweep:  10 * time.Millisecond,
			Check:  10 * time.Millisecond,
		})
		void := map[string]bool{}
		commitVoid := func(account string) bus.OutboxRow {
			row := src.commit(src.reserveID(), 1, account)
			void[row.Updates[0].Chain().String()] = true
			return row
		}
		for range 3 {
			r.Offer([]bus.OutboxRow{commitVoid("user:a")})
		}
		announcedLate := commitVoid("user:late")
		src.failOver(backup)
		src.commit(src.reserveID(), 1, "user:a") // its id is that of a void row
		ctx, cancel := context.WithCancel(t.Context())
		var running errgroup.Group
		running.Go(func() error { return r.Run(ctx) })
		defer func() { _ = running.Wait() }()
		defer cancel()
		waitHealed(t, rdb, keys, src, nil, "user:a")
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
		r.Offer([]bus.OutboxRow{announcedLate})
		src.commitAndOffer(r, 1, "user:a", "user:late")
		waitHealed(t, rdb, keys, src, nil, "user:a", "user:late")
		cancel()
		if err := running.Wait(); err != nil {
			t.Error(err)
		}
		for i := range keys.Partitions {
			for _, e := range rdb.XRange(t.Context(), keys.Stream(i), "-", "+").Val() {
				if void[fmt.Sprint(e.Values["chain"])] {
					t.Errorf("got void event %v in the stream", e.Values)
				}
			}
		}
	})
}

func TestCheckHistoryNamesTheProgress(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		src := newMemorySource()
		rdb.Set(t.Context(), keys.Forked(), "x", 0)
		rdb.Set(t.Context(), keys.BalanceHash("user:bad"), "no hash", 0)
		gate := make(chan struct{})
		gated := &gatedSource{memorySource: src, gate: gate}
		commitSome(t, src, nil, 3)
		publishAll(t, src, rdb, keys)
		r, _ := startRelay(t, gated, rdb, keys, relay.Config{})
		streamtest.WaitFor(t, "a failing check", func() bool { return r.CheckHistory() != nil })
		want := "the streams had events that the ledger does not have; comparing all balance hashes with the ledger: " +
			"0 compared, 0 accounts repaired; see docs/history.md"
		if got := r.CheckHistory().Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		close(gate)
		streamtest.WaitFor(t, "the end of the comparison", func() bool { return r.CheckHistory() == nil })
	})
}

// gatedSource answers Positions only after its gate is open.
type gatedSource struct {
	*memorySource
	gate chan struct{}
}

func (s *gatedSource) Positions(ctx context.Context, accounts []string) ([]bus.Position, error) {
	select {
	case <-s.gate:
		return s.memorySource.Positions(ctx, accounts)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// publishAll publishes the outbox without a relay.
func publishAll(t *testing.T, src *memorySource, rdb redis.UniversalClient, keys bus.Keys) {
	t.Helper()
	rows, _ := src.Pending(t.Context(), 0, 1000)
	p := publish.New(rdb, publish.Config{Keys: keys})
	for _, row := range rows {
		for _, u := range row.Updates {
			streamtest.MustPublish(t, p, publish.Publication{Update: u})
		}
		_ = src.Published(t.Context(), []int64{row.ID})
	}
}

// A cluster is compared master by master.
func TestRelayHealsAForkOnACluster(t *testing.T) {
	server := streamtest.StartClusterOfOne(t)
	rdb := streamtest.Open(t, "redis+cluster://"+server.Addr())
	keys := bus.Keys{}.WithDefaults()
	src := newMemorySource()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{})
	var accounts []string
	for i := range 200 {
		accounts = append(accounts, fmt.Sprint("user:", i))
		src.commitAndOffer(r, 2, accounts[i])
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	backup := src.copyData()
	for _, account := range accounts {
		src.commitAndOffer(r, 2, account)
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	src.failOver(backup)
	waitHealed(t, rdb, keys, src, nil, accounts...)
}

// TestForkIsHealedOnAllMastersAfterOneWasAway lets the ledger go back while one of two masters does
// not answer. The accounts of the other one are healed meanwhile, and the comparison ends only after
// it has covered both.
func TestForkIsHealedOnAllMastersAfterOneWasAway(t *testing.T) {
	rdb, servers := openTwoServers(t)
	keys := bus.Keys{Partitions: 4}.WithDefaults()
	src := newMemorySource()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{})
	var on [2][]string // accounts by server
	for i := range 40 {
		account := fmt.Sprint("user:", i)
		server := keys.Partition(account) / 2
		on[server] = append(on[server], account)
		src.commitAndOffer(r, 2, account)
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	backup := src.copyData()
	for _, account := range slices.Concat(on[0], on[1]) {
		src.commitAndOffer(r, 2, account)
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)

	servers[1].Stop()
	src.failOver(backup)
	direct := streamtest.Open(t, servers[0].URL())
	isForked := func(account string) bool {
		chain := direct.HGet(t.Context(), keys.BalanceHash(account), "chain").Val()
		return chain != src.newest(account).Chain.String()
	}
	streamtest.WaitFor(t, "the accounts on the other master are healed", func() bool { return !slices.ContainsFunc(on[0], isForked) })
	err := r.CheckHistory()
	if err == nil {
		t.Error("CheckHistory while a master is away: got no error, want one until its accounts are compared")
	}
	servers[1].Continue()
	waitHealed(t, rdb, keys, src, nil, slices.Concat(on[0], on[1])...)
	streamtest.WaitFor(t, "the end of the comparison", func() bool { return r.CheckHistory() == nil })
}
