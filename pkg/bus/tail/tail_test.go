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
		if n := len(f.History); n > 40 {
			t.Errorf("got %d refilled entries, want at most 10 for each of 4 partitions", n)
		}
		for _, a := range []string{"user:a", "user:b", "model:m"} {
			history, live := f.Seqs(a)
			if len(history) == 0 || !slices.Equal(history, streamtest.SeqRange(history[0], 30)) {
				t.Errorf("%s: got history %v, want it to rise by one up to 30", a, history)
			}
			if len(live) > 0 {
				t.Errorf("%s: got live entries %v, want none", a, live)
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
		g.Deliveries[0].Feature = "wheel"
		g.Deliveries[0].View = []byte(`{"v":1}`)
		g.Deliveries[0].SecondParty = true
		g.Deliveries[0].TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		g.Deliveries[1].Amount = 0
		g.Deliveries[1].Reason = ""
		streamtest.MustPublish(t, publish.New(rdb, publish.Config{Keys: keys}), publish.Publication{Update: g})
		f := streamtest.Follow(t, rdb, tail.Config{Keys: keys})
		f.WaitCaughtUp(t)
		f.Mu.Lock()
		defer f.Mu.Unlock()
		for i, want := range g.Deliveries {
			got := f.History[i]
			age := time.Since(time.UnixMilli(got.StreamMillis))
			if age < -time.Minute || age > time.Minute {
				t.Errorf("delivery %d: got StreamMillis of %v ago, want now", i, age)
			}
			got.StreamMillis = 0
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("delivery %d:\ngot  %+v\nwant %+v", i, got, want)
			}
		}
	})
}

func TestTailSkipsInvalidEntries(t *testing.T) {
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
			{"id", "x", "type", "t", "account", "user:a", "seq", "1", "data", "{}\n{}"},
			{"id", "x", "type", "t", "account", "user:a", "seq", "1", "data", "{}\r{}"},
			{"id", "x", "type", "t", "account", "user:a", "seq", "1", "data", "{}", "view", "{}\n{}"},
			{"id", "x", "type", "t", "account", "user:a", "data", "{\n}"},
		} {
			if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		streamtest.MustPublish(t, publish.New(rdb, publish.Config{Keys: keys}), streamtest.NewPublication("user:a", 1, 2))
		f.WaitLive(t, "user:a", 1, 2)
		if got := streamtest.SumMetric(t, reg, "realtime_stream_malformed_total"); got != 9 {
			t.Errorf("got realtime_stream_malformed_total %v, want 9", got)
		}
	})
}

func TestTailStopsWithoutRedis(t *testing.T) {
	f := streamtest.Follow(t, streamtest.Open(t, "redis://127.0.0.1:1"), tail.Config{})
	f.Stop()
}

func TestTailContinuesAfterRestartsAndCuts(t *testing.T) {
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
	streamtest.WaitFor(t, "the reset", func() bool { return streamtest.SumMetric(t, reg, "realtime_stream_resets_total") > 0 })
	streamtest.MustPublish(t, p, publish.Publication{Update: streamtest.NewUpdate("user:a", 11, 2), AsStartingPoint: true})
	f.WaitLive(t, "user:a", 1, 12)
}

// Reading must be false while a stream cannot be read, and until all events that were added
// meanwhile are delivered.
func TestReadingIsFalseUntilMissedEventsAreDelivered(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	p := publish.New(streamtest.Open(t, server.URL()), publish.Config{})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1))
	var lost atomic.Int32
	f := streamtest.Follow(t, streamtest.Open(t, "redis://"+proxy.Addr()+"?read_timeout=500ms"), tail.Config{
		Count: 1,
		Lost: func(other bool) {
			if other {
				t.Error("Lost after an interruption: got other true, want false")
			}
			lost.Add(1)
		},
	})
	f.WaitCaughtUp(t)
	if !f.Reading("user:a") {
		t.Error("after catch-up: got Reading false, want true")
	}
	if !f.ReadingAll() {
		t.Error("after catch-up: got ReadingAll false, want true")
	}
	proxy.PauseReplies()
	proxy.Cut()
	streamtest.WaitFor(t, "Reading to be false", func() bool { return !f.Reading("user:a") && !f.ReadingAll() })
	const missed = 50
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 2, missed))
	before := lost.Load()
	proxy.Cut()
	proxy.Resume()
	streamtest.WaitFor(t, "Reading to be true", func() bool { return f.Reading("user:a") })
	_, live := f.Seqs("user:a")
	if len(live) != missed {
		t.Errorf("got %d events when Reading is true, want %d", len(live), missed)
	}
	if lost.Load() == before {
		t.Error("got no call of Lost before Reading is true, want one")
	}
	streamtest.WaitFor(t, "ReadingAll to be true", f.ReadingAll)
}

// countIfOther returns a function for Config.Lost that counts its calls with other.
func countIfOther(n *atomic.Int32) func(bool) {
	return func(other bool) {
		if other {
			n.Add(1)
		}
	}
}

func TestTailFollowsAStreamThatWentBack(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		addEntry := func(id string, seq int) {
			t.Helper()
			d := streamtest.NewUpdate("user:a", int64(seq), 1).Deliveries[0]
			err := rdb.XAdd(t.Context(), &redis.XAddArgs{
				Stream: keys.Stream(keys.Partition("user:a")),
				ID:     id,
				Values: []any{"id", d.ID, "type", d.Type, "account", d.Account, "seq", d.Seq, "data", d.Data},
			}).Err()
			if err != nil {
				t.Fatal(err)
			}
		}
		ahead := time.Now().Add(time.Hour).UnixMilli() // the server's clock is an hour fast
		reg := prometheus.NewRegistry()
		var others atomic.Int32
		f := streamtest.Follow(t, rdb, tail.Config{
			Keys:       keys,
			Check:      10 * time.Millisecond,
			Lost:       countIfOther(&others),
			Registerer: reg,
		})
		f.WaitCaughtUp(t)
		addEntry(fmt.Sprintf("%d-0", ahead), 1)
		addEntry(fmt.Sprintf("%d-0", ahead+1), 2)
		f.WaitLive(t, "user:a", 1, 2)
		// The next server has lost the second event, and its clock is right.
		if err := rdb.Del(t.Context(), keys.Stream(keys.Partition("user:a"))).Err(); err != nil {
			t.Fatal(err)
		}
		addEntry("*", 3)
		addEntry("*", 4)
		f.WaitLive(t, "user:a", 1, 4)
		if others.Load() == 0 {
			t.Error("got no call of Lost with other, want one before the entries of the other stream")
		}
		if streamtest.SumMetric(t, reg, "realtime_stream_resets_total") == 0 {
			t.Error("got realtime_stream_resets_total 0, want at least 1")
		}
	})
}

func TestTailDoesNotOverwriteKeptDeliveries(t *testing.T) {
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
			requireDelivery(t, d, d.Seq)
		}
	})
}

// requireDelivery compares the id, the seq and the data with those of seq want.
func requireDelivery(t *testing.T, d bus.Delivery, want int64) {
	t.Helper()
	if d.Seq != want {
		t.Errorf("got seq %d, want %d", d.Seq, want)
	}
	if wantID := fmt.Sprintf("user:a/%d", want); d.ID != wantID {
		t.Errorf("seq %d: got id %q, want %q", want, d.ID, wantID)
	}
	if prefix := fmt.Sprintf(`{"seq":%d,`, want); !strings.HasPrefix(string(d.Data), prefix) {
		t.Errorf("seq %d: got data %s, want prefix %s", want, d.Data, prefix)
	}
}

// With Reuse a batch is valid until deliver returns.
func TestBatchIsValidDuringDeliverWithReuse(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 50))
		const last = 250
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		reader := tail.New(rdb, tail.Config{
			Keys:   keys,
			Count:  7,
			Block:  20 * time.Millisecond,
			Reuse:  true,
			Logger: streamtest.DiscardLogger(),
		})
		var seq int64
		var reads errgroup.Group
		reads.Go(func() error {
			return reader.Run(ctx, func(b tail.Batch) {
				for _, d := range b.Deliveries {
					seq++
					requireDelivery(t, d, seq)
				}
				if seq >= last {
					cancel()
				}
			})
		})
		for first := int64(51); first <= last; first += 10 {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", first, 10))
		}
		if err := reads.Wait(); err != nil {
			t.Error(err)
		}
		if seq != last {
			t.Errorf("got events up to %d, want %d", seq, last)
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
	pubs := streamtest.NewBenchPublications(events/3, 3)
	for group := range slices.Chunk(pubs, 1000) {
		streamtest.MustPublish(b, p, group...)
	}
	b.ReportAllocs()
	before := streamtest.ReadRedisCPU(b, rdb)
	total := 0
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		n := 0
		err := tail.New(rdb, tail.Config{Keys: keys, Refill: events, Block: time.Millisecond, Logger: streamtest.DiscardLogger()}).Run(ctx, func(batch tail.Batch) {
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
	b.ReportMetric((streamtest.ReadRedisCPU(b, rdb)-before)/float64(total), "redis-µs/entry")
}

// Entries are trimmed before a tail has read them, although Redis answers all the time.
func TestTailReportsTrimmedEntries(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		tests := map[string]struct {
			count int           // entries in a read
			stall time.Duration // time without a read
		}{
			"lagging": {count: 1},
			"stalled": {stall: time.Second},
		}
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				keys := bus.Keys{Namespace: keys.Namespace + name, Partitions: 1}
				p := publish.New(rdb, publish.Config{Keys: keys})
				var lost atomic.Int32
				reg := prometheus.NewRegistry()
				f := streamtest.Follow(t, rdb, tail.Config{
					Keys:       keys,
					Count:      test.count,
					Check:      time.Hour,
					Lost:       countIfOther(&lost),
					Registerer: reg,
				})
				f.WaitCaughtUp(t)
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1))
				f.WaitLive(t, "user:a", 1, 1)
				f.Mu.Lock() // blocks the tail while it delivers the second event
				goOn := sync.OnceFunc(f.Mu.Unlock)
				t.Cleanup(goOn)
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 2, 1))
				streamtest.WaitFor(t, "the second event", func() bool { return streamtest.SumMetric(t, reg, "realtime_stream_entries_total") == 2 })
				streamtest.MustPublish(t, p, streamtest.NewPublication("user:quiet", 1, 1), streamtest.NewPublication("user:a", 3, 1))
				if err := rdb.XTrimMaxLen(t.Context(), keys.Stream(0), 1).Err(); err != nil {
					t.Fatal(err)
				}
				trimmed := time.Now()
				streamtest.WaitFor(t, "the end of the stall", func() bool { return time.Since(trimmed) >= test.stall })
				if n := lost.Load(); n != 0 {
					t.Errorf("got %d calls of Lost before the late read, want 0", n)
				}
				goOn()
				f.WaitLive(t, "user:a", 1, 3)
				streamtest.WaitFor(t, "the call of Lost", func() bool { return lost.Load() == 1 })
				if got := streamtest.SumMetric(t, reg, "realtime_stream_trimmed_total"); got != 1 {
					t.Errorf("got realtime_stream_trimmed_total %v, want 1", got)
				}
			})
		}
	})
}

// A tail that cannot look whether entries were trimmed before a late read says that they may have been.
func TestTailReportsEntriesThatMayBeTrimmed(t *testing.T) {
	t.Parallel()
	rdb := streamtest.Open(t, "redis://"+testenv.RedisServer(t).Addr())
	keys := bus.Keys{Partitions: 1}.WithDefaults()
	var lost atomic.Int32
	f := streamtest.Follow(t, rdb, tail.Config{
		Keys:  keys,
		Count: 1, // so that a read may be late
		Check: time.Hour,
		Lost:  countIfOther(&lost),
	})
	f.WaitCaughtUp(t)
	err := rdb.Do(t.Context(), "ACL", "SETUSER", "default", "-xrange").Err()
	if err != nil {
		t.Fatal(err)
	}
	p := publish.New(rdb, publish.Config{Keys: keys})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 3))
	f.WaitLive(t, "user:a", 1, 3)
	streamtest.WaitFor(t, "the call of Lost", func() bool { return lost.Load() > 0 })
}
