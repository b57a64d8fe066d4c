package tail_test

import (
	"context"
	"fmt"
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
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func TestTailRefillsThenFollows(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		for seq := int64(1); seq <= 30; seq++ {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", seq, 1), streamtest.NewPublication("user:b", seq, 1), streamtest.NewPublication("model:m", seq, 1))
		}
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys, Refill: 10, Pause: time.Millisecond})
		f.WaitCaughtUp(t)
		for _, a := range []string{"user:a", "user:b", "model:m"} {
			history, live := f.Seqs(a)
			if len(history) == 0 || history[len(history)-1] != 30 || len(history) != int(31-history[0]) || len(live) > 0 {
				t.Errorf("%s: history %v, live %v", a, history, live)
			}
			if n := len(f.History); n > 40 {
				t.Errorf("%d entries refilled; want at most 10 for each of 4 partitions", n)
			}
		}
		for seq := int64(31); seq <= 60; seq += 3 {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", seq, 3), streamtest.NewPublication("user:b", seq, 3), streamtest.NewPublication("model:m", seq, 3))
		}
		for _, a := range []string{"user:a", "user:b", "model:m"} {
			f.WaitLive(t, a, 31, 60)
		}
	})
}

func TestTailDeliversEveryField(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		g := streamtest.NewUpdate("user:a'\r\n$5", 1, 2)
		g.Deliveries[0].Feature, g.Deliveries[0].View, g.Deliveries[0].SecondParty = "wheel", []byte(`{"v":1}`), true
		g.Deliveries[0].TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		g.Deliveries[1].Amount, g.Deliveries[1].Reason = 0, ""
		streamtest.MustPublish(t, publish.New(rdb, publish.Config{Keys: keys}), publish.Publication{Update: g})
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys})
		f.WaitCaughtUp(t)
		f.Mu.Lock()
		defer f.Mu.Unlock()
		for i, want := range g.Deliveries {
			got := f.History[i]
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
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys, Registerer: reg})
		f.WaitCaughtUp(t)
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
		streamtest.MustPublish(t, publish.New(rdb, publish.Config{Keys: keys}), streamtest.NewPublication("user:a", 1, 2))
		f.WaitLive(t, "user:a", 1, 2)
		if got := streamtest.MetricSum(t, reg, "stream_malformed_total"); got != 5 {
			t.Errorf("stream_malformed_total = %v; want 5", got)
		}
	})
}

func TestTailStopsWithoutRedis(t *testing.T) {
	f := streamtest.Follow(t, streamtest.Open(t, "redis://127.0.0.1:1"), tail.Config{})
	f.Stop()
}

func TestTailOutlivesRestartsAndCuts(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	direct := streamtest.Open(t, server.URL())
	reg := prometheus.NewRegistry()
	f := streamtest.Follow(t, streamtest.Open(t, "redis://"+proxy.Addr()), tail.Config{Registerer: reg, Check: 50 * time.Millisecond})
	f.WaitCaughtUp(t)
	p := publish.New(direct, publish.Config{})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 5))
	f.WaitLive(t, "user:a", 1, 5)

	proxy.PauseReplies()
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 6, 5))
	proxy.Cut()
	proxy.Resume()
	f.WaitLive(t, "user:a", 1, 10)

	server.Kill()
	server.Start() // empty
	streamtest.WaitFor(t, "the reset", func() bool { return streamtest.MetricSum(t, reg, "stream_resets_total") > 0 })
	streamtest.MustPublish(t, p, publish.Publication{Update: streamtest.NewUpdate("user:a", 11, 2), AsStartingPoint: true})
	f.WaitLive(t, "user:a", 1, 12)
}

// While a stream cannot be read the tail says so, until all that came meanwhile was delivered.
func TestTailTellsWhetherItReads(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	p := publish.New(streamtest.Open(t, server.URL()), publish.Config{})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1))
	var lost atomic.Int32
	f := streamtest.Follow(t, streamtest.Open(t, "redis://"+proxy.Addr()+"?read_timeout=500ms"), tail.Config{Count: 1, Lost: func() { lost.Add(1) }})
	f.WaitCaughtUp(t)
	if !f.Reading("user:a") || !f.ReadingAll() {
		t.Error("caught up, and does not read")
	}
	proxy.PauseReplies()
	proxy.Cut()
	streamtest.WaitFor(t, "that it does not read", func() bool { return !f.Reading("user:a") && !f.ReadingAll() })
	const missed = 50
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 2, missed))
	before := lost.Load()
	proxy.Cut()
	proxy.Resume()
	streamtest.WaitFor(t, "that it reads again", func() bool { return f.Reading("user:a") })
	if _, live := f.Seqs("user:a"); len(live) != missed || lost.Load() == before {
		t.Errorf("it reads again after %d of %d events, and %d calls of Lost", len(live), missed, lost.Load()-before)
	}
	streamtest.WaitFor(t, "all", f.ReadingAll)
}

func TestTailFollowsAStreamThatWentBack(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		add := func(id string, seq int) {
			t.Helper()
			g := streamtest.NewUpdate("user:a", int64(seq), 1)
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
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys, Check: 10 * time.Millisecond, Registerer: reg})
		f.WaitCaughtUp(t)
		add(fmt.Sprintf("%d-0", ahead), 1)
		add(fmt.Sprintf("%d-0", ahead+1), 2)
		f.WaitLive(t, "user:a", 1, 2)
		// Its successor has lost the second, and its clock is right.
		if err := rdb.Del(t.Context(), keys.Stream(keys.Partition("user:a"))).Err(); err != nil {
			t.Fatal(err)
		}
		add("*", 3)
		add("*", 4)
		f.WaitLive(t, "user:a", 1, 4)
		if streamtest.MetricSum(t, reg, "stream_resets_total") == 0 {
			t.Error("no reset was counted")
		}
	})
}

func TestTailDoesNotOverwriteWhatWasKept(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys, Count: 7})
		f.WaitCaughtUp(t)
		for seq := int64(1); seq <= 200; seq += 10 {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", seq, 10))
		}
		f.WaitLive(t, "user:a", 1, 200)
		f.Mu.Lock()
		defer f.Mu.Unlock()
		for _, d := range f.Live {
			if want := fmt.Sprintf(`{"seq":%d,`, d.Seq); !strings.HasPrefix(string(d.Data), want) || d.ID != fmt.Sprintf("user:a/%d", d.Seq) {
				t.Fatalf("seq %d has id %q and data %s", d.Seq, d.ID, d.Data)
			}
		}
	})
}

// With Reuse a batch is good until deliver returns.
func TestTailReuses(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 50))
		const last = 250
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		reader := tail.New(rdb, tail.Config{Keys: keys, Count: 7, Block: 20 * time.Millisecond, Reuse: true, Logger: streamtest.Quiet()})
		var seq int64
		var reads errgroup.Group
		reads.Go(func() error {
			return reader.Run(ctx, func(b tail.Batch) {
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
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", first, 10))
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
	p := publish.New(rdb, publish.Config{Keys: keys})
	const events = 96_000
	pubs := streamtest.BenchGroups(events/3, 3)
	for group := range slices.Chunk(pubs, 1000) {
		streamtest.MustPublish(b, p, group...)
	}
	b.ReportAllocs()
	before := streamtest.RedisCPU(b, rdb)
	total := 0
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		n := 0
		err := tail.New(rdb, tail.Config{Keys: keys, Refill: events, Block: time.Millisecond, Logger: streamtest.Quiet()}).Run(ctx, func(batch tail.Batch) {
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
				p := publish.New(rdb, publish.Config{Keys: keys})
				var lost atomic.Int32
				reg := prometheus.NewRegistry()
				f := streamtest.Follow(t, rdb, tail.Config{Keys: keys, Count: late.count, Check: time.Hour, Lost: func() { lost.Add(1) }, Registerer: reg})
				f.WaitCaughtUp(t)
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1))
				f.WaitLive(t, "user:a", 1, 1)
				f.Mu.Lock() // the tail waits with the second event in its hand
				goOn := sync.OnceFunc(f.Mu.Unlock)
				t.Cleanup(goOn)
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 2, 1))
				streamtest.WaitFor(t, "the second event", func() bool { return streamtest.MetricSum(t, reg, "stream_entries_total") == 2 })
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:quiet", 1, 1), streamtest.NewPublication("user:a", 3, 1))
				if err := rdb.XTrimMaxLen(t.Context(), keys.Stream(0), 1).Err(); err != nil {
					t.Fatal(err)
				}
				standing := time.Now()
				streamtest.WaitFor(t, "a read that is late", func() bool { return time.Since(standing) >= late.still })
				if lost.Load() != 0 {
					t.Error("lost before anything was")
				}
				goOn()
				f.WaitLive(t, "user:a", 1, 3)
				streamtest.WaitFor(t, "the report", func() bool { return lost.Load() == 1 })
				if got := streamtest.MetricSum(t, reg, "stream_trimmed_total"); got != 1 {
					t.Errorf("stream_trimmed_total = %v; want 1", got)
				}
			})
		}
	})
}
