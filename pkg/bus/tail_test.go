package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// follower runs a tail and keeps what it delivers.
type follower struct {
	*bus.Tail
	stop context.CancelFunc

	mu      sync.Mutex // protects the rest
	history []bus.Delivery
	live    []bus.Delivery
}

func follow(t testing.TB, rdb redis.UniversalClient, cfg bus.TailConfig) *follower {
	t.Helper()
	if cfg.Block == 0 {
		cfg.Block = 20 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{Tail: bus.NewTail(rdb, cfg)}
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, f.take) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *follower) take(b bus.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.Refill {
		f.history = append(f.history, b.Deliveries...)
	} else {
		f.live = append(f.live, b.Deliveries...)
	}
}

// firsts lists an account's seqs in the order they came, without repeats.
func firsts(deliveries []bus.Delivery, account string) []int64 {
	var list []int64
	last := int64(0)
	for _, d := range deliveries {
		if d.Account == account && d.Seq > last {
			list, last = append(list, d.Seq), d.Seq
		}
	}
	return list
}

func (f *follower) seqs(account string) (history, live []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return firsts(f.history, account), firsts(f.live, account)
}

func (f *follower) waitCaughtUp(t testing.TB) {
	t.Helper()
	select {
	case <-f.CaughtUp():
	case <-time.After(20 * time.Second):
		t.Fatal("the tail does not catch up")
	}
}

func (f *follower) waitLive(t testing.TB, account string, first, last int64) {
	t.Helper()
	streamtest.WaitFor(t, fmt.Sprintf("live %s %d to %d", account, first, last), func() bool {
		_, live := f.seqs(account)
		return slices.Equal(live, streamtest.UpTo(first, last))
	})
}

func TestTailRefillsThenFollows(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys})
		for seq := int64(1); seq <= 30; seq++ {
			publish(t, p, group("user:a", seq, 1), group("user:b", seq, 1), group("model:m", seq, 1))
		}
		f := follow(t, rdb, bus.TailConfig{Keys: keys, Refill: 10, Pause: time.Millisecond})
		f.waitCaughtUp(t)
		for _, a := range []string{"user:a", "user:b", "model:m"} {
			history, live := f.seqs(a)
			if len(history) == 0 || history[len(history)-1] != 30 || len(history) != int(31-history[0]) || len(live) > 0 {
				t.Errorf("%s: history %v, live %v", a, history, live)
			}
			if n := len(f.history); n > 40 {
				t.Errorf("%d entries refilled; want at most 10 for each of 4 partitions", n)
			}
		}
		for seq := int64(31); seq <= 60; seq += 3 {
			publish(t, p, group("user:a", seq, 3), group("user:b", seq, 3), group("model:m", seq, 3))
		}
		for _, a := range []string{"user:a", "user:b", "model:m"} {
			f.waitLive(t, a, 31, 60)
		}
	})
}

func TestTailDeliversEveryField(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		g := streamtest.MakeGroup("user:a'\r\n$5", 1, 2)
		g.Deliveries[0].Feature, g.Deliveries[0].View, g.Deliveries[0].Copy = "wheel", []byte(`{"v":1}`), true
		g.Deliveries[0].TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		g.Deliveries[1].Amount, g.Deliveries[1].Reason = 0, ""
		publish(t, bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys}), bus.Publication{Group: g})
		f := follow(t, rdb, bus.TailConfig{Keys: keys})
		f.waitCaughtUp(t)
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, want := range g.Deliveries {
			got := f.history[i]
			if age := time.Since(time.UnixMilli(got.StreamMillis)); age < -time.Minute || age > time.Minute {
				t.Errorf("StreamMillis is %v ago", age)
			}
			got.StreamMillis = 0
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("delivery %d:\n%+v\nwant\n%+v", i, got, want)
			}
		}
	})
}

func TestTailSkipsWhatIsNoDelivery(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		reg := prometheus.NewRegistry()
		f := follow(t, rdb, bus.TailConfig{Keys: keys, Registerer: reg})
		f.waitCaughtUp(t)
		key := keys.Stream(keys.Partition("user:a"))
		for _, values := range [][]any{
			{"hello", "world"},
			{"id", "x", "type", "t", "account", "user:a", "seq", "minus one", "data", "{}"},
			{"id", "x", "type", "t", "account", "user:a", "seq", "99999999999999999999", "data", "{}"},
			{"id", "x", "type", "t", "account", "user:a", "seq", "1", "data", ""},
			{"id", "x", "type", "t", "account", "user:a", "seq", "1", "amount", "-5", "data", "{}"},
		} {
			if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		publish(t, bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys}), group("user:a", 1, 2))
		f.waitLive(t, "user:a", 1, 2)
		if got := streamtest.Metric(t, reg, "stream_malformed_total"); got != 5 {
			t.Errorf("stream_malformed_total = %v; want 5", got)
		}
	})
}

func TestTailStopsWithoutRedis(t *testing.T) {
	f := follow(t, streamtest.Open(t, "redis://127.0.0.1:1"), bus.TailConfig{})
	f.stop()
}

func TestTailOutlivesRestartsAndCuts(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	direct := streamtest.Open(t, server.URL())
	reg := prometheus.NewRegistry()
	f := follow(t, streamtest.Open(t, "redis://"+proxy.Addr()), bus.TailConfig{Registerer: reg, Check: 50 * time.Millisecond})
	f.waitCaughtUp(t)
	p := bus.NewPublisher(direct, bus.PublisherConfig{})
	publish(t, p, group("user:a", 1, 5))
	f.waitLive(t, "user:a", 1, 5)

	proxy.PauseReplies()
	publish(t, p, group("user:a", 6, 5))
	proxy.Cut()
	proxy.Resume()
	f.waitLive(t, "user:a", 1, 10)

	server.Kill()
	server.Start() // empty
	streamtest.WaitFor(t, "the reset", func() bool { return streamtest.Metric(t, reg, "stream_resets_total") > 0 })
	publish(t, p, bus.Publication{Group: streamtest.MakeGroup("user:a", 11, 2), Base: true})
	f.waitLive(t, "user:a", 1, 12)
}

// While a stream cannot be read the tail says so, until all that came meanwhile was delivered.
func TestTailTellsWhetherItReads(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	p := bus.NewPublisher(streamtest.Open(t, server.URL()), bus.PublisherConfig{})
	publish(t, p, group("user:a", 1, 1))
	var lost atomic.Int32
	f := follow(t, streamtest.Open(t, "redis://"+proxy.Addr()+"?read_timeout=500ms"), bus.TailConfig{Count: 1, Lost: func() { lost.Add(1) }})
	f.waitCaughtUp(t)
	if !f.Reading("user:a") || !f.ReadingAll() {
		t.Error("caught up, and does not read")
	}
	proxy.PauseReplies()
	proxy.Cut()
	streamtest.WaitFor(t, "that it does not read", func() bool { return !f.Reading("user:a") && !f.ReadingAll() })
	const missed = 50
	publish(t, p, group("user:a", 2, missed))
	before := lost.Load()
	proxy.Cut()
	proxy.Resume()
	streamtest.WaitFor(t, "that it reads again", func() bool { return f.Reading("user:a") })
	if _, live := f.seqs("user:a"); len(live) != missed || lost.Load() == before {
		t.Errorf("it reads again after %d of %d events, and %d calls of Lost", len(live), missed, lost.Load()-before)
	}
	streamtest.WaitFor(t, "all", f.ReadingAll)
}

func TestTailFollowsAStreamThatWentBack(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		add := func(id string, seq int) {
			t.Helper()
			g := streamtest.MakeGroup("user:a", int64(seq), 1)
			d := g.Deliveries[0]
			err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Stream(keys.Partition("user:a")), ID: id, Values: []any{
				"id", d.ID, "type", d.Type, "account", d.Account, "seq", d.Seq, "data", d.Data,
			}}).Err()
			if err != nil {
				t.Fatal(err)
			}
		}
		ahead := time.Now().Add(time.Hour).UnixMilli() // a server whose clock is an hour fast
		reg := prometheus.NewRegistry()
		f := follow(t, rdb, bus.TailConfig{Keys: keys, Check: 10 * time.Millisecond, Registerer: reg})
		f.waitCaughtUp(t)
		add(fmt.Sprintf("%d-0", ahead), 1)
		add(fmt.Sprintf("%d-0", ahead+1), 2)
		f.waitLive(t, "user:a", 1, 2)
		// Its successor has lost the second, and its clock is right.
		if err := rdb.Del(t.Context(), keys.Stream(keys.Partition("user:a"))).Err(); err != nil {
			t.Fatal(err)
		}
		add("*", 3)
		add("*", 4)
		f.waitLive(t, "user:a", 1, 4)
		if streamtest.Metric(t, reg, "stream_resets_total") == 0 {
			t.Error("no reset was counted")
		}
	})
}

func TestTailDoesNotOverwriteWhatWasKept(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys})
		f := follow(t, rdb, bus.TailConfig{Keys: keys, Count: 7})
		f.waitCaughtUp(t)
		for seq := int64(1); seq <= 200; seq += 10 {
			publish(t, p, group("user:a", seq, 10))
		}
		f.waitLive(t, "user:a", 1, 200)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, d := range f.live {
			if want := fmt.Sprintf(`{"seq":%d,`, d.Seq); !strings.HasPrefix(string(d.Data), want) || d.ID != fmt.Sprintf("user:a/%d", d.Seq) {
				t.Fatalf("seq %d has id %q and data %s", d.Seq, d.ID, d.Data)
			}
		}
	})
}

// With Reuse a batch is good until deliver returns.
func TestTailReuses(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys})
		publish(t, p, group("user:a", 1, 50))
		const last = 250
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tail := bus.NewTail(rdb, bus.TailConfig{Keys: keys, Count: 7, Block: 20 * time.Millisecond, Reuse: true, Logger: slog.New(slog.DiscardHandler)})
		var seq int64
		var reads errgroup.Group
		reads.Go(func() error {
			return tail.Run(ctx, func(b bus.Batch) {
				for _, d := range b.Deliveries {
					seq++
					if d.Seq != seq || d.ID != fmt.Sprintf("user:a/%d", seq) || !strings.HasPrefix(string(d.Data), fmt.Sprintf(`{"seq":%d,`, seq)) {
						t.Errorf("%d: seq %d has id %q and data %s", seq, d.Seq, d.ID, d.Data)
					}
				}
				if seq >= last {
					cancel()
				}
			})
		})
		for first := int64(51); first <= last; first += 10 {
			publish(t, p, group("user:a", first, 10))
		}
		if err := reads.Wait(); err != nil || seq != last {
			t.Errorf("read up to %d: %v", seq, err)
		}
	})
}

// BenchmarkTail reports time and allocations per entry read.
func BenchmarkTail(b *testing.B) {
	url, namespace := testenv.Redis(b)
	rdb := streamtest.Open(b, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 16}
	p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys})
	const events = 96_000
	pubs := publications(streamtest.MakeBenchGroups(events/3, 3))
	for group := range slices.Chunk(pubs, 1000) {
		publish(b, p, group...)
	}
	b.ReportAllocs()
	before := streamtest.RedisCPU(b, rdb)
	total := 0
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		n := 0
		err := bus.NewTail(rdb, bus.TailConfig{Keys: keys, Refill: events, Block: time.Millisecond, Logger: slog.New(slog.DiscardHandler)}).Run(ctx, func(batch bus.Batch) {
			if n += len(batch.Deliveries); n == events {
				cancel()
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/entry")
	b.ReportMetric((streamtest.RedisCPU(b, rdb)-before)/float64(total), "redis-µs/entry")
}

// Entries that are trimmed before a tail has read them are reported, though Redis answers all the time.
func TestTailNoticesTrimming(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		for name, late := range map[string]struct {
			count int           // of entries in a read
			still time.Duration // nothing is read
		}{
			"lagging":  {count: 1},
			"standing": {still: time.Second},
		} {
			t.Run(name, func(t *testing.T) {
				keys := bus.Keys{Namespace: keys.Namespace + name, Partitions: 1}
				p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: keys})
				var lost atomic.Int32
				reg := prometheus.NewRegistry()
				f := follow(t, rdb, bus.TailConfig{Keys: keys, Count: late.count, Check: time.Hour, Lost: func() { lost.Add(1) }, Registerer: reg})
				f.waitCaughtUp(t)
				publish(t, p, group("user:a", 1, 1))
				f.waitLive(t, "user:a", 1, 1)
				f.mu.Lock() // the tail waits with the second event in its hand
				goOn := sync.OnceFunc(f.mu.Unlock)
				t.Cleanup(goOn)
				publish(t, p, group("user:a", 2, 1))
				streamtest.WaitFor(t, "the second event", func() bool { return streamtest.Metric(t, reg, "stream_entries_total") == 2 })
				publish(t, p, group("user:quiet", 1, 1), group("user:a", 3, 1))
				if err := rdb.XTrimMaxLen(t.Context(), keys.Stream(0), 1).Err(); err != nil {
					t.Fatal(err)
				}
				standing := time.Now()
				streamtest.WaitFor(t, "a read that is late", func() bool { return time.Since(standing) >= late.still })
				if lost.Load() != 0 {
					t.Error("lost before anything was")
				}
				goOn()
				f.waitLive(t, "user:a", 1, 3)
				streamtest.WaitFor(t, "the report", func() bool { return lost.Load() == 1 })
				if got := streamtest.Metric(t, reg, "stream_trimmed_total"); got != 1 {
					t.Errorf("stream_trimmed_total = %v; want 1", got)
				}
			})
		}
	})
}
