package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// readHistories reads the streams as a reader does that obeys markers. It returns each account's
// chains by seq. Like a reader, it drops repeats; it does not fill gaps.
func readHistories(t testing.TB, rdb redis.UniversalClient, keys bus.Keys) map[string]map[int64]string {
	t.Helper()
	histories := map[string]map[int64]string{}
	for i := range keys.Partitions {
		entries, err := rdb.XRange(t.Context(), keys.Stream(i), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			account := fmt.Sprint(e.Values["account"])
			seq, err := strconv.ParseInt(fmt.Sprint(e.Values["seq"]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			h := histories[account]
			if h == nil {
				h = map[int64]string{}
				histories[account] = h
			}
			chain := fmt.Sprint(e.Values["chain"])
			if e.Values["type"] == bus.TypeHistoryChanged {
				for other := range h {
					if other > seq {
						delete(h, other)
					}
				}
			}
			if seq > 0 {
				h[seq] = chain
			}
		}
	}
	return histories
}

// history returns the account's chains in the ledger by seq.
func (m *memorySource) history(account string) map[int64]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := map[int64]string{}
	for _, u := range m.updates[account] {
		for _, d := range u.Deliveries {
			h[d.Seq] = d.Chain.String()
		}
	}
	return h
}

// checkHealed returns an error unless the hashes and the streams have the ledger's histories. The
// streams may lack the beginning of a history, up to some account's seq in from.
func checkHealed(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, src *memorySource, from map[string]int64, accounts ...string) error {
	t.Helper()
	histories := readHistories(t, rdb, keys)
	for _, account := range accounts {
		newest := src.newest(account)
		amount := "available"
		if strings.HasPrefix(account, "model:") {
			amount = "earned"
		}
		hash := rdb.HMGet(t.Context(), keys.BalanceHash(account), "seq", "chain", amount).Val()
		if newest.Seq == 0 {
			if hash[0] != nil || len(histories[account]) > 0 {
				return fmt.Errorf("%s: got hash %v and history %v of an unknown account", account, hash, histories[account])
			}
			continue
		}
		updates, _ := src.UpdatesAfter(t.Context(), account, newest.Seq-1, 1)
		balance := updates[0].Balance
		want := []any{fmt.Sprint(newest.Seq), newest.Chain.String(), fmt.Sprint(balance.Available + balance.Earned)}
		if !slices.Equal(hash, want) {
			return fmt.Errorf("%s: got hash %v, want %v", account, hash, want)
		}
		for seq, chain := range src.history(account) {
			if got := histories[account][seq]; got != chain && seq > from[account] {
				return fmt.Errorf("%s: got chain %q at seq %d of the stream, want %s", account, got, seq, chain)
			}
		}
		for seq := range histories[account] {
			if seq > newest.Seq {
				return fmt.Errorf("%s: got seq %d in the stream, want at most %d", account, seq, newest.Seq)
			}
		}
	}
	if n := rdb.Exists(t.Context(), keys.Forked()).Val(); n != 0 {
		return fmt.Errorf("%s still exists", keys.Forked())
	}
	return nil
}

// waitHealed waits until Redis has the ledger's histories and no comparison is required.
func waitHealed(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, src *memorySource, from map[string]int64, accounts ...string) {
	t.Helper()
	var err error
	defer func() {
		if t.Failed() {
			t.Log(err)
		}
	}()
	streamtest.WaitFor(t, "the ledger's histories in Redis", func() bool {
		err = checkHealed(t, rdb, keys, src, from, accounts...)
		return err == nil
	})
}

// forkCase takes the ledger back, lets the relay notice it, and returns the accounts to check.
type forkCase struct {
	name   string
	change func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) (from map[string]int64)
}

var forkCases = []forkCase{
	{"the ledger lost the newest events", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		src.failOver(backup)
		return nil
	}},
	{"exactly one other event with the same seq", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 1)
		src.failOver(backup)
		src.commitAndOffer(nil, 1, "user:a")
		return nil
	}},
	{"the ledger has more events than Redis", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		src.failOver(backup)
		for range 200 {
			src.commitAndOffer(r, 3, "user:a")
		}
		return nil
	}},
	{"the ledger lost the account", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		delete(backup.updates, "user:a")
		delete(backup.changed, "user:a")
		src.failOver(backup)
		return nil
	}},
	{"the ledger has another account of the same name", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		delete(backup.updates, "user:a")
		src.failOver(backup)
		src.commitAndOffer(r, 2, "user:a")
		return nil
	}},
	{"nobody notices until the next publication", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 1)
		src.replaceData(backup)
		src.commitAndOffer(r, 1, "user:a") // the same seq
		src.commitAndOffer(r, 1, "user:a")
		return nil
	}},
	{"nobody notices, and the next event is part of a larger update", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		src.replaceData(backup)
		src.commitAndOffer(r, 5, "user:a")
		return nil
	}},
	{"nobody notices, and nothing is published", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		waitForWatermarks(t, rdb, keys, time.Now().Add(40*time.Millisecond)) // the events were checked
		src.replaceData(backup)
		return nil
	}},
	{"the former database comes back", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		standby := src.copyData()
		commitSome(t, src, r, 3)
		former := src.copyData()
		src.failOver(standby)
		commitSome(t, src, r, 2)
		waitHealed(t, rdb, keys, src, nil, "user:a")
		src.failOver(former)
		return nil
	}},
	{"the stream was trimmed after the common event", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		rdb.XTrimMaxLen(t.Context(), keys.Stream(keys.Partition("user:a")), 2)
		src.failOver(backup)
		commitSome(t, src, nil, 4)
		return map[string]int64{"user:a": 12, "user:quiet": 100}
	}},
	{"the stream was deleted", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 4)
		waitHealed(t, rdb, keys, src, nil, "user:a")
		src.failOver(backup)
		for i := range keys.Partitions {
			rdb.Del(t.Context(), keys.Stream(i))
		}
		src.commitAndOffer(r, 1, "user:b") // the only trace
		src.replaceData(backup)
		src.commitAndOffer(r, 1, "user:b")
		return map[string]int64{"user:a": 100, "user:quiet": 100, "user:b": 100}
	}},
	{"Redis was emptied at the same time", func(t *testing.T, src *memorySource, r *relay.Relay, rdb redis.UniversalClient, keys bus.Keys) map[string]int64 {
		backup := src.copyData()
		commitSome(t, src, r, 2)
		all := rdb.Keys(t.Context(), keys.Namespace+":*").Val()
		if len(all) > 0 {
			rdb.Del(t.Context(), all...)
		}
		src.failOver(backup)
		src.commitAndOffer(r, 1, "user:a")
		return map[string]int64{"user:a": 100, "user:quiet": 100, "user:b": 100}
	}},
}

// commitSome commits n transactions of one event and waits until they are published. If r is nil, it
// only commits.
func commitSome(t *testing.T, src *memorySource, r *relay.Relay, n int) {
	t.Helper()
	for range n {
		src.commitAndOffer(r, 1, "user:a")
	}
	if r != nil {
		streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	}
}

func TestRelayHealsAForkedLedger(t *testing.T) {
	for _, c := range forkCases {
		t.Run(c.name, func(t *testing.T) {
			streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
				src := newMemorySource()
				reg := prometheus.NewRegistry()
				r, _ := startRelay(t, src, rdb, keys, relay.Config{Registerer: reg})
				for range 10 {
					src.commitAndOffer(r, 1, "user:a", "user:b")
				}
				src.commitAndOffer(r, 3, "user:quiet")
				streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
				waitForWatermarks(t, rdb, keys, time.Now()) // the first checks are over
				from := c.change(t, src, r, rdb, keys)
				waitHealed(t, rdb, keys, src, from, "user:a", "user:b", "user:quiet")
				streamtest.WaitFor(t, "the end of the comparison", func() bool {
					return r.CheckHistory() == nil && streamtest.SumMetric(t, reg, "relay_history_comparison_running") == 0
				})
				commitSome(t, src, r, 3)
				waitHealed(t, rdb, keys, src, from, "user:a", "user:b", "user:quiet")
			})
		})
	}
}

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
		if got := streamtest.SumMetric(t, reg, "relay_forked_accounts_total"); got != 3 {
			t.Errorf("got relay_forked_accounts_total %v, want 3", got)
		}
	})
}

// Ten thousand quiet accounts lose their newest events. Two relays repair them side by side.
func TestTwoRelaysHealManyQuietAccounts(t *testing.T) {
	const accounts = 10_000
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
		rewound += streamtest.SumMetric(t, registries[i], "relay_forked_accounts_total")
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
