package publish_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

func expect(t testing.TB, got []publish.Outcome, want ...publish.Outcome) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("outcomes %v; want %v", got, want)
	}
}

func TestPublishGuardsBySeq(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const a = "user:a"
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication(a, 2, 1)), publish.Outcome{Status: bus.Gap, Last: -1})
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication(a, 1, 3), streamtest.NewPublication("model:m", 1, 1), streamtest.NewPublication(a, 4, 1), streamtest.NewPublication(a, 6, 1)),
			publish.Outcome{Status: bus.Published, Last: -1}, publish.Outcome{Status: bus.Published, Last: -1},
			publish.Outcome{Status: bus.Published, Last: 3}, publish.Outcome{Status: bus.Gap, Last: 4})
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication(a, 1, 3), streamtest.NewPublication(a, 4, 1)),
			publish.Outcome{Status: bus.Duplicate, Last: 4}, publish.Outcome{Status: bus.Duplicate, Last: 4})
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication(a, 4, 2)), publish.Outcome{Status: bus.PartlyPublished, Last: 4})
		if got := fmt.Sprint(streamtest.Stream(t, rdb, keys, a)); got != "[1 2 3 4]" {
			t.Errorf("stream %s", got)
		}
		hash := rdb.HGetAll(t.Context(), keys.BalanceHash(a)).Val()
		want := map[string]string{"available": "400", "escrow": "4", "seq": "4", "updatedAt": "2023-11-14T22:13:20.004Z"}
		if fmt.Sprint(hash) != fmt.Sprint(want) {
			t.Errorf("user's hash %v; want %v", hash, want)
		}
		hash = rdb.HGetAll(t.Context(), keys.BalanceHash("model:m")).Val()
		want = map[string]string{"earned": "10", "seq": "1", "updatedAt": "2023-11-14T22:13:20.001Z"}
		if fmt.Sprint(hash) != fmt.Sprint(want) {
			t.Errorf("model's hash %v; want %v", hash, want)
		}
	})
}

func TestPublishWritesTheContractsFields(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const a = "user:{x}'\"\r\n*"
		g := streamtest.NewUpdate(a, 1, 2)
		g.Deliveries[0].Feature, g.Deliveries[0].View, g.Deliveries[0].SecondParty = "wheel", []byte(`{"v":1}`), true
		g.Deliveries[0].TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		g.Deliveries[1].Amount, g.Deliveries[1].Reason = 0, ""
		expect(t, streamtest.MustPublish(t, p, publish.Publication{Update: g}), publish.Outcome{Status: bus.Published, Last: -1})
		entries := rdb.XRange(t.Context(), keys.Stream(keys.Partition(a)), "-", "+").Val()
		want := []map[string]any{
			{
				"id": g.Deliveries[0].ID, "type": "wallet.balance_updated", "account": a, "seq": "1", "key": g.Key,
				"amount": "5", "reason": "admin_credit", "feature": "wheel", "data": string(g.Deliveries[0].Data),
				"view": `{"v":1}`, "copy": "1", "traceparent": g.Deliveries[0].TraceParent,
			},
			{
				"id": g.Deliveries[1].ID, "type": "wallet.balance_updated", "account": a, "seq": "2", "key": g.Key,
				"data": string(g.Deliveries[1].Data),
			},
		}
		for i := range want {
			if fmt.Sprint(entries[i].Values) != fmt.Sprint(want[i]) {
				t.Errorf("entry %d: %v; want %v", i, entries[i].Values, want[i])
			}
		}
		ttl := rdb.TTL(t.Context(), keys.Dedup(keys.Partition(a), g.Key)).Val()
		if ttl < 59*time.Minute || ttl > time.Hour {
			t.Errorf("dedup key lives for %v", ttl)
		}
	})
}

func TestPublishBaseStartsAnUnknownAccountOnly(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		base := func(first int64) publish.Publication {
			return publish.Publication{Update: streamtest.NewUpdate("user:a", first, 1), AsStartingPoint: true}
		}
		expect(t, streamtest.MustPublish(t, p, base(7), base(9)),
			publish.Outcome{Status: bus.Published, Last: -1}, publish.Outcome{Status: bus.Gap, Last: 7})
	})
}

func TestPublishAfterTheHashWasDeletedAddsNothingTwice(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 2), streamtest.NewPublication("user:a", 3, 1))
		rdb.Del(t.Context(), keys.BalanceHash("user:a"))
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 2), streamtest.NewPublication("user:a", 3, 1), streamtest.NewPublication("user:a", 4, 1)),
			publish.Outcome{Status: bus.Duplicate, Last: -1}, publish.Outcome{Status: bus.Duplicate, Last: 2},
			publish.Outcome{Status: bus.Published, Last: 3})
		if got := fmt.Sprint(streamtest.Stream(t, rdb, keys, "user:a")); got != "[1 2 3 4]" {
			t.Errorf("stream %s", got)
		}
	})
}

func TestPublishSplitsLargeBatchesAndSurvivesAForgottenScript(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys, MaxGroups: 3, MaxBytes: 700})
		var pubs []publish.Publication
		for seq := int64(1); seq <= 40; seq += 2 {
			for i := range 10 {
				pubs = append(pubs, streamtest.NewPublication(fmt.Sprintf("user:%d", i), seq, 2))
			}
		}
		for _, want := range []bus.Status{bus.Published, bus.Duplicate} {
			for i, o := range streamtest.MustPublish(t, p, pubs...) {
				if o.Status != want {
					t.Fatalf("publication %d: %v; want status %d", i, o, want)
				}
			}
			if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(streamtest.Stream(t, rdb, keys, "user:3")); got != 40 {
			t.Errorf("%d entries; want 40", got)
		}
	})
}

func TestPublishKeepsOneBadAccountFromTheOthers(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		keys.Partitions = 1
		p := publish.New(rdb, publish.Config{Keys: keys})
		rdb.Set(t.Context(), keys.BalanceHash("user:bad"), "no hash", 0)
		holed := streamtest.NewPublication("user:c", 1, 3)
		holed.Update.Deliveries[1].Seq = 7
		expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1), streamtest.NewPublication("user:bad", 1, 1), publish.Publication{}, holed, streamtest.NewPublication("user:b", 1, 1)),
			publish.Outcome{Status: bus.Published, Last: -1}, publish.Outcome{Status: bus.Unwritable, Last: -1},
			publish.Outcome{Status: bus.Unwritable, Last: -1}, publish.Outcome{Status: bus.Unwritable, Last: -1},
			publish.Outcome{Status: bus.Published, Last: -1})
	})
}

func TestPublishAnswersWhatItKnowsWhenOneStreamIsUnwritable(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		good, bad := "user:0", ""
		for i := 1; bad == ""; i++ {
			if a := fmt.Sprintf("user:%d", i); keys.Partition(a) != keys.Partition(good) {
				bad = a
			}
		}
		rdb.Set(t.Context(), keys.Stream(keys.Partition(bad)), "no stream", 0)
		outcomes, err := p.Publish(t.Context(), []publish.Publication{streamtest.NewPublication(bad, 1, 1), streamtest.NewPublication(good, 1, 1)})
		if err == nil {
			t.Error("no error")
		}
		expect(t, outcomes, publish.Outcome{}, publish.Outcome{Status: bus.Published, Last: -1})
		if n := rdb.Exists(t.Context(), keys.BalanceHash(bad)).Val(); n != 0 {
			t.Error("the hash moved though the stream did not")
		}
	})
}

func TestPublishTrimsTheStream(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys, MaxLen: 500})
		for first := int64(1); first < 2000; first += 100 {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", first, 100))
		}
		if n := len(streamtest.Stream(t, rdb, keys, "user:a")); n < 500 || n > 700 {
			t.Errorf("%d entries after trimming to about 500", n)
		}
	})
}

func TestPublishCutAfterTheScriptRanAddsNothingTwice(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	rdb, direct := streamtest.Open(t, "redis://"+proxy.Addr()+"?max_retries=-1"), streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	p := publish.New(rdb, publish.Config{})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1)) // so that the script is known and the connection made
	proxy.PauseReplies()
	failed := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), []publish.Publication{streamtest.NewPublication("user:a", 2, 3)})
		failed <- err
	}()
	streamtest.WaitFor(t, "the script ran", func() bool { return len(streamtest.Stream(t, direct, keys, "user:a")) == 4 })
	proxy.Cut()
	proxy.Resume()
	if err := <-failed; err == nil {
		t.Fatal("the reply was cut, and Publish says nothing of it")
	}
	expect(t, streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 2, 3), streamtest.NewPublication("user:a", 5, 1)),
		publish.Outcome{Status: bus.Duplicate, Last: 4}, publish.Outcome{Status: bus.Published, Last: 4})
	if got := fmt.Sprint(streamtest.Stream(t, direct, keys, "user:a")); got != "[1 2 3 4 5]" {
		t.Errorf("stream %s", got)
	}
}
