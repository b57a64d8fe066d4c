package publish_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// requireRewinds rewinds and compares which accounts were rewound.
func requireRewinds(t testing.TB, p *publish.Publisher, rewinds []publish.Rewind, want ...bool) {
	t.Helper()
	got, err := p.Rewind(t.Context(), rewinds)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// An account is rewound only from the state that the caller has read.
func TestRewindTakesAnAccountBack(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "user:a"
		h := history{}.appendUpdate(account, "old", 2).appendUpdate(account, "old", 2)
		streamtest.MustPublish(t, p, publish.Publication{Update: h[0]}, publish.Publication{Update: h[1]})
		hash := rdb.HGetAll(t.Context(), keys.BalanceHash(account)).Val()
		to := h[0].Balance
		again := []string{h[1].Key}
		from := publish.Rewind{Account: account, HashSeq: "4", HashChain: h[1].Chain().String(), To: to, Again: again}
		otherSeq := from
		otherSeq.HashSeq = "5"
		otherChain := from
		otherChain.HashChain = h[0].Chain().String()
		missing := from
		missing.HashSeq = ""
		missing.HashChain = ""

		requireRewinds(t, p, []publish.Rewind{otherSeq, otherChain, missing}, false, false, false)
		if got := rdb.HGetAll(t.Context(), keys.BalanceHash(account)).Val(); !maps.Equal(got, hash) {
			t.Errorf("got hash %v after refused rewinds, want %v", got, hash)
		}

		requireRewinds(t, p, []publish.Rewind{from, from}, true, false)
		requireSeqs(t, rdb, keys, account, "[1 2 3 4 2]")
		stream := keys.Stream(keys.Partition(account))
		marker := rdb.XRevRangeN(t.Context(), stream, "+", "-", 1).Val()[0].ID
		if got := rdb.HGet(t.Context(), keys.Rewound(keys.Partition(account)), account).Val(); got != marker {
			t.Errorf("got markers %q, want %q", got, marker)
		}
		requireHash(t, rdb, keys, account, map[string]string{
			"available": "200",
			"escrow":    "2",
			"seq":       "2",
			"chain":     to.Chain.String(),
			"updatedAt": "2023-11-14T22:13:20.002Z",
		})
		other := h[:1].appendUpdate(account, "new", 1)
		requireOutcomes(t, p, []publish.Publication{{Update: other[1]}}, published(2))
	})
}

// The same updates may be published again after a rewind, although their deduplication keys existed.
func TestUpdatesArePublishedAgainAfterARewind(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "model:m"
		h := history{}.appendUpdate(account, "old", 1).appendUpdate(account, "old", 2)
		pubs := []publish.Publication{{Update: h[0]}, {Update: h[1]}}
		streamtest.MustPublish(t, p, pubs...)
		requireRewinds(t, p, []publish.Rewind{{
			Account:   account,
			HashSeq:   "3",
			HashChain: h[1].Chain().String(),
			To:        bus.Balance{Account: account},
			Again:     []string{h[0].Key, h[1].Key},
		}}, true)
		if n := rdb.Exists(t.Context(), keys.BalanceHash(account)).Val(); n != 0 {
			t.Error("got a balance hash after a rewind to the beginning, want none")
		}
		requireOutcomes(t, p, pubs, published(-1), published(1))
		requireSeqs(t, rdb, keys, account, "[1 2 3 0 1 2 3]")
	})
}

func TestMarkerHasTheFieldsOfTheContract(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "model:m"
		h := history{}.appendUpdate(account, "old", 1).appendUpdate(account, "old", 1)
		streamtest.MustPublish(t, p, publish.Publication{Update: h[0]}, publish.Publication{Update: h[1]})
		from := publish.Rewind{Account: account, HashSeq: "2", HashChain: h[1].Chain().String(), To: h[0].Balance}
		requireRewinds(t, p, []publish.Rewind{from}, true)

		entries := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Val()
		marker := entries[len(entries)-1].Values
		data := fmt.Sprint(marker["data"])
		id := fmt.Sprint(marker["id"])
		want := map[string]any{
			"id": id, "type": bus.TypeHistoryChanged, "account": account, "seq": "1", "chain": h[0].Chain().String(), "data": data,
		}
		if !maps.Equal(marker, want) {
			t.Errorf("got marker %v, want %v", marker, want)
		}

		var payload map[string]any
		if err := json.Unmarshal([]byte(data), &payload); err != nil {
			t.Fatal(err)
		}
		timestamp := fmt.Sprint(payload["timestamp"])
		if _, err := time.Parse(bus.TimeFormat, timestamp); err != nil {
			t.Errorf("timestamp: %v", err)
		}
		wantPayload := map[string]any{
			"eventId": id, "eventType": bus.TypeHistoryChanged, "timestamp": timestamp, "accountId": "m", "accountType": "model",
			"seq": 1.0, "chain": h[0].Chain().String(), "source": "wallet-core", "version": "1.0",
		}
		if !maps.Equal(payload, wantPayload) {
			t.Errorf("got payload %v, want %v", payload, wantPayload)
		}
	})
}
