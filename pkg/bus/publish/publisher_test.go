package publish_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

func published(last int64) publish.Outcome {
	return publish.Outcome{Status: bus.Published, Last: last}
}

func duplicate(last int64) publish.Outcome {
	return publish.Outcome{Status: bus.Duplicate, Last: last}
}

// requireOutcomes publishes and compares the outcomes.
func requireOutcomes(t testing.TB, p *publish.Publisher, pubs []publish.Publication, want ...publish.Outcome) {
	t.Helper()
	got := streamtest.MustPublish(t, p, pubs...)
	if !slices.Equal(got, want) {
		t.Fatalf("got outcomes %v, want %v", got, want)
	}
}

// requireSeqs compares the account's seqs in its stream.
func requireSeqs(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account, want string) {
	t.Helper()
	got := fmt.Sprint(streamtest.ListStreamSeqs(t, rdb, keys, account))
	if got != want {
		t.Errorf("%s: got seqs %s, want %s", account, got, want)
	}
}

// requireHash compares the fields of the account's balance hash.
func requireHash(t testing.TB, rdb redis.UniversalClient, keys bus.Keys, account string, want map[string]string) {
	t.Helper()
	got := rdb.HGetAll(t.Context(), keys.BalanceHash(account)).Val()
	if !maps.Equal(got, want) {
		t.Errorf("%s: got hash %v, want %v", account, got, want)
	}
}

func TestPublishComparesTheSeq(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "user:a"
		update := func(first int64, events int) publish.Publication {
			return streamtest.NewPublication(account, first, events)
		}
		requireOutcomes(t, p, []publish.Publication{update(2, 1)}, publish.Outcome{Status: bus.Gap, Last: -1})
		requireOutcomes(t, p,
			[]publish.Publication{update(1, 3), streamtest.NewPublication("model:m", 1, 1), update(4, 1), update(6, 1)},
			published(-1), published(-1), published(3), publish.Outcome{Status: bus.Gap, Last: 4})
		requireOutcomes(t, p, []publish.Publication{update(1, 3), update(4, 1)}, duplicate(4), duplicate(4))
		requireOutcomes(t, p, []publish.Publication{update(4, 2)}, publish.Outcome{Status: bus.PartlyPublished, Last: 4})
		requireSeqs(t, rdb, keys, account, "[1 2 3 4]")
		requireHash(t, rdb, keys, account, map[string]string{
			"available": "400",
			"chain":     streamtest.ChainAt(account, 4).String(),
			"escrow":    "4",
			"seq":       "4",
			"updatedAt": "2023-11-14T22:13:20.004Z",
		})
		requireHash(t, rdb, keys, "model:m", map[string]string{
			"chain":     streamtest.ChainAt("model:m", 1).String(),
			"earned":    "10",
			"seq":       "1",
			"updatedAt": "2023-11-14T22:13:20.001Z",
		})
	})
}

func TestPublishWritesTheFieldsOfTheContract(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "user:{x}'\"\r\n*"
		u := streamtest.NewUpdate(account, 1, 2)
		first := &u.Deliveries[0]
		first.Feature = "wheel"
		first.View = []byte(`{"v":1}`)
		first.SecondParty = true
		first.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		second := &u.Deliveries[1]
		second.Amount = 0
		second.Reason = ""
		requireOutcomes(t, p, []publish.Publication{{Update: u}}, published(-1))

		partition := keys.Partition(account)
		entries := rdb.XRange(t.Context(), keys.Stream(partition), "-", "+").Val()
		want := []map[string]any{
			{
				"id": first.ID, "type": "wallet.balance_updated", "account": account, "seq": "1", "key": u.Key,
				"chain":  first.Chain.String(),
				"amount": "5", "reason": "admin_credit", "feature": "wheel", "data": string(first.Data),
				"view": `{"v":1}`, "copy": "1", "traceparent": first.TraceParent,
			},
			{
				"id": second.ID, "type": "wallet.balance_updated", "account": account, "seq": "2", "key": u.Key,
				"chain": second.Chain.String(), "data": string(second.Data),
			},
		}
		for i := range want {
			if !maps.Equal(entries[i].Values, want[i]) {
				t.Errorf("entry %d:\ngot  %v\nwant %v", i, entries[i].Values, want[i])
			}
		}
		ttl := rdb.TTL(t.Context(), keys.Dedup(partition, u.Key)).Val()
		if ttl < 59*time.Minute || ttl > time.Hour {
			t.Errorf("dedup key: got ttl %v, want about 1 h", ttl)
		}
	})
}

func TestStartingPointIsAcceptedForAnUnknownAccountOnly(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		startAt := func(first int64) publish.Publication {
			return publish.Publication{Update: streamtest.NewUpdate("user:a", first, 1), AsStartingPoint: true}
		}
		requireOutcomes(t, p, []publish.Publication{startAt(7), startAt(9)},
			published(-1), publish.Outcome{Status: bus.Gap, Last: 7})
	})
}

func TestPublishAfterTheHashWasDeletedAddsNothingTwice(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		first := streamtest.NewPublication("user:a", 1, 2)
		second := streamtest.NewPublication("user:a", 3, 1)
		third := streamtest.NewPublication("user:a", 4, 1)
		streamtest.MustPublish(t, p, first, second)
		rdb.Del(t.Context(), keys.BalanceHash("user:a"))
		requireOutcomes(t, p, []publish.Publication{first, second, third}, duplicate(-1), duplicate(2), published(3))
		requireSeqs(t, rdb, keys, "user:a", "[1 2 3 4]")
	})
}

func TestPublishSplitsLargeBatchesAndReloadsTheScript(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys, MaxUpdates: 3, MaxBytes: 700})
		var pubs []publish.Publication
		for seq := int64(1); seq <= 40; seq += 2 {
			for i := range 10 {
				pubs = append(pubs, streamtest.NewPublication(fmt.Sprintf("user:%d", i), seq, 2))
			}
		}
		for _, want := range []bus.Status{bus.Published, bus.Duplicate} {
			for i, o := range streamtest.MustPublish(t, p, pubs...) {
				if o.Status != want {
					t.Fatalf("publication %d: got status %v, want %v", i, o.Status, want)
				}
			}
			if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(streamtest.ListStreamSeqs(t, rdb, keys, "user:3")); got != 40 {
			t.Errorf("got %d entries, want 40", got)
		}
	})
}

func TestInvalidUpdateDoesNotAffectOthers(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		keys.Partitions = 1
		p := publish.New(rdb, publish.Config{Keys: keys})
		rdb.Set(t.Context(), keys.BalanceHash("user:bad"), "no hash", 0)
		withHole := streamtest.NewPublication("user:c", 1, 3)
		withHole.Update.Deliveries[1].Seq = 7
		withLineFeed := streamtest.NewPublication("user:d", 1, 1)
		withLineFeed.Update.Deliveries[0].Data = []byte("{}\n{}")
		withReturn := streamtest.NewPublication("user:d", 1, 1)
		withReturn.Update.Deliveries[0].View = []byte("{}\r{}")
		pubs := []publish.Publication{
			streamtest.NewPublication("user:a", 1, 1),
			streamtest.NewPublication("user:bad", 1, 1),
			{}, // without deliveries
			withHole,
			withLineFeed,
			withReturn,
			streamtest.NewPublication("user:b", 1, 1),
		}
		unwritable := publish.Outcome{Status: bus.Unwritable, Last: -1}
		requireOutcomes(t, p, pubs, published(-1), unwritable, unwritable, unwritable, unwritable, unwritable, published(-1))
	})
}

func TestBrokenStreamDoesNotAffectOtherPartitions(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		good := "user:0"
		bad := ""
		for i := 1; bad == ""; i++ {
			account := fmt.Sprintf("user:%d", i)
			if keys.Partition(account) != keys.Partition(good) {
				bad = account
			}
		}
		rdb.Set(t.Context(), keys.Stream(keys.Partition(bad)), "no stream", 0)
		pubs := []publish.Publication{streamtest.NewPublication(bad, 1, 1), streamtest.NewPublication(good, 1, 1)}
		outcomes, err := p.Publish(t.Context(), pubs)
		if err == nil {
			t.Error("got no error")
		}
		want := []publish.Outcome{{Status: bus.Unknown}, published(-1)}
		if !slices.Equal(outcomes, want) {
			t.Errorf("got outcomes %v, want %v", outcomes, want)
		}
		if n := rdb.Exists(t.Context(), keys.BalanceHash(bad)).Val(); n != 0 {
			t.Error("got a balance hash of the bad account, want none")
		}
	})
}

func TestPublishTrimsTheStream(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys, MaxLen: 500})
		for first := int64(1); first < 2000; first += 100 {
			streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", first, 100))
		}
		if n := len(streamtest.ListStreamSeqs(t, rdb, keys, "user:a")); n < 500 || n > 700 {
			t.Errorf("got %d entries, want about 500", n)
		}
	})
}

func TestPublishAgainAfterALostReplyAddsNothingTwice(t *testing.T) {
	server := testenv.RedisServer(t)
	proxy := testenv.NewProxy(t, server.Addr())
	rdb := streamtest.Open(t, "redis://"+proxy.Addr()+"?max_retries=-1")
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{}.WithDefaults()
	p := publish.New(rdb, publish.Config{})
	streamtest.MustPublish(t, p, streamtest.NewPublication("user:a", 1, 1)) // opens a connection and loads the script
	proxy.PauseReplies()
	failed := make(chan error, 1)
	go func() {
		_, err := p.Publish(t.Context(), []publish.Publication{streamtest.NewPublication("user:a", 2, 3)})
		failed <- err
	}()
	streamtest.WaitFor(t, "the end of the script", func() bool {
		return len(streamtest.ListStreamSeqs(t, direct, keys, "user:a")) == 4
	})
	proxy.Cut()
	proxy.Resume()
	if err := <-failed; err == nil {
		t.Fatal("publish with a lost reply: got no error")
	}
	pubs := []publish.Publication{streamtest.NewPublication("user:a", 2, 3), streamtest.NewPublication("user:a", 5, 1)}
	requireOutcomes(t, p, pubs, duplicate(4), published(4))
	requireSeqs(t, direct, keys, "user:a", "[1 2 3 4 5]")
}
