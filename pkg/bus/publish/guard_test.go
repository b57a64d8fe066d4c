package publish_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// history is an account's updates in a ledger. Two histories may have the same beginning.
type history []bus.AccountUpdate

// appendUpdate returns the history with one more update of n events. name makes its chains and keys
// differ from those of other histories.
func (h history) appendUpdate(account, name string, n int) history {
	first := int64(1)
	before := bus.Chain(0)
	if len(h) > 0 {
		first = h[len(h)-1].Last() + 1
		before = h[len(h)-1].Chain()
	}

	u := streamtest.NewUpdate(account, first, n)
	u.Key = fmt.Sprintf("%s-%d:%s", name, first, account)
	u.Before = before
	chain := before
	for i := range u.Deliveries {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", chain, name, i))
		chain = bus.Chain(binary.BigEndian.Uint64(sum[:]))
		u.Deliveries[i].Chain = chain
		u.Deliveries[i].ID = fmt.Sprintf("%s/%s/%d", name, account, u.Deliveries[i].Seq)
	}

	u.Balance.Chain = chain
	return append(slices.Clip(h), u)
}

// drawHistories draws two histories of the account that fork somewhere, maybe before the first
// update.
func drawHistories(t *rapid.T, account string) [2]history {
	var common history
	sizes := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 8)
	for _, n := range rapid.SliceOfN(rapid.IntRange(1, 4), 0, 5).Draw(t, "common") {
		common = common.appendUpdate(account, "common", n)
	}

	forks := [2]history{common, common}
	for i, name := range []string{"a", "b"} {
		for _, n := range sizes.Draw(t, name) {
			forks[i] = forks[i].appendUpdate(account, name, n)
		}
	}

	return forks
}

// guardModel is what Redis must have of one account.
type guardModel struct {
	known bool // the hash exists
	seq   int64
	chain string
	dedup map[string]bool
	added []string // chains of the stream's entries
}

// publish does what the script must do.
func (m *guardModel) publish(p publish.Publication) publish.Outcome {
	u := &p.Update
	last := int64(-1)
	if m.known {
		last = m.seq
	}

	outcome := func(s bus.Status) publish.Outcome { return publish.Outcome{Status: s, Last: last} }
	switch {
	case last > u.Last():
		return outcome(bus.Duplicate)
	case last == u.Last() && m.chain == u.Chain().String():
		return outcome(bus.Duplicate)
	case last == u.Last():
		return outcome(bus.Forked)
	case last >= u.First():
		return outcome(bus.PartlyPublished)
	case !m.known && u.First() > 1 && !p.AsStartingPoint:
		return outcome(bus.Gap)
	case m.known && last+1 < u.First():
		return outcome(bus.Gap)
	case m.known && m.chain != u.Before.String():
		return outcome(bus.Forked)
	}

	m.known = true
	m.seq = u.Last()
	m.chain = u.Chain().String()
	if m.dedup[u.Key] {
		return outcome(bus.Duplicate)
	}

	m.dedup[u.Key] = true
	for i := range u.Deliveries {
		m.added = append(m.added, u.Deliveries[i].Chain.String())
	}

	return outcome(bus.Published)
}

// TestGuardMatchesItsModel publishes two histories of an account at random: repeats, gaps, parts of
// groups, starting points, and after lost hashes and dedup keys. Two publishers take turns.
func TestGuardMatchesItsModel(t *testing.T) {
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 2}
	publishers := []*publish.Publisher{
		publish.New(rdb, publish.Config{Keys: keys}),
		publish.New(streamtest.Open(t, url), publish.Config{Keys: keys, MaxUpdates: 2}),
	}

	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		account := fmt.Sprintf("%s:%d", rapid.SampledFrom([]string{"user", "model"}).Draw(rt, "kind"), run)
		histories := drawHistories(rt, account)
		model := &guardModel{dedup: map[string]bool{}}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 11).Draw(rt, "step") {
			case 0:
				rdb.Del(t.Context(), keys.BalanceHash(account))
				model.known = false
			case 1:
				rdb.HDel(t.Context(), keys.BalanceHash(account), "chain")
				model.chain = ""
			case 2:
				for key := range model.dedup {
					rdb.Del(t.Context(), keys.Dedup(keys.Partition(account), key))
				}
				clear(model.dedup)
			default:
				pubs := drawPublications(rt, histories)
				var want []publish.Outcome
				for _, p := range pubs {
					want = append(want, model.publish(p))
				}
				p := rapid.SampledFrom(publishers).Draw(rt, "publisher")
				got := streamtest.MustPublish(t, p, pubs...)
				if !slices.Equal(got, want) {
					rt.Fatalf("got outcomes %v, want %v", got, want)
				}
			}
		}

		checkGuardedAccount(rt, t, rdb, keys, account, model)
	})
}

// drawPublications draws up to four updates of the histories, whole or in part.
func drawPublications(t *rapid.T, histories [2]history) []publish.Publication {
	var pubs []publish.Publication
	h := rapid.SampledFrom(histories[:]).Draw(t, "history")
	from := rapid.IntRange(0, len(h)-1).Draw(t, "from")
	for _, u := range h[from:min(len(h), from+rapid.IntRange(1, 4).Draw(t, "count"))] {
		if n := len(u.Deliveries); n > 1 && rapid.IntRange(0, 5).Draw(t, "part") == 0 {
			skip := rapid.IntRange(1, n-1).Draw(t, "skip")
			u.Before = u.Deliveries[skip-1].Chain
			u.Deliveries = u.Deliveries[skip:]
			u.Key += "+rest"
		}

		startingPoint := rapid.IntRange(0, 3).Draw(t, "starting point") == 0
		pubs = append(pubs, publish.Publication{Update: u, AsStartingPoint: startingPoint})
	}

	return pubs
}

func checkGuardedAccount(rt *rapid.T, t *testing.T, rdb redis.UniversalClient, keys bus.Keys, account string, model *guardModel) {
	entries, err := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Result()
	if err != nil {
		rt.Fatal(err)
	}

	var chains []string
	for _, e := range entries {
		if e.Values["account"] == account {
			chains = append(chains, fmt.Sprint(e.Values["chain"]))
		}
	}

	if !slices.Equal(chains, model.added) {
		rt.Fatalf("got entries with chains %v, want %v", chains, model.added)
	}

	hash := rdb.HMGet(t.Context(), keys.BalanceHash(account), "seq", "chain").Val()
	want := []any{nil, nil}
	if model.known {
		want[0] = strconv.FormatInt(model.seq, 10)
		if model.chain != "" {
			want[1] = model.chain
		}
	}

	if !slices.Equal(hash, want) {
		rt.Fatalf("got seq and chain %v in the hash, want %v", hash, want)
	}
}

// Two publishers publish the two histories of an account at the same time. The stream must have one
// of the histories as far as it was published, without a repeat and without an event of the other
// one after the fork.
func TestConcurrentForksNeverMix(t *testing.T) {
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 2}
	publishers := [2]*publish.Publisher{
		publish.New(rdb, publish.Config{Keys: keys, MaxUpdates: 1}),
		publish.New(streamtest.Open(t, url), publish.Config{Keys: keys, MaxUpdates: 1}),
	}

	for run := range 30 {
		account := fmt.Sprint("user:", run)
		var common history
		for range run % 3 {
			common = common.appendUpdate(account, "common", 2)
		}

		forks := [2]history{common, common}
		var publishing sync.WaitGroup
		for i, name := range []string{"a", "b"} {
			for range 10 {
				forks[i] = forks[i].appendUpdate(account, name, 2)
			}

			publishing.Go(func() {
				for _, u := range forks[i] {
					_, err := publishers[i].Publish(t.Context(), []publish.Publication{{Update: u}})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}

		publishing.Wait()
		entries := rdb.XRange(t.Context(), keys.Stream(keys.Partition(account)), "-", "+").Val()
		var got []string
		for _, e := range entries {
			if e.Values["account"] == account {
				got = append(got, fmt.Sprint(e.Values["chain"]))
			}
		}

		matches := slices.ContainsFunc(forks[:], func(h history) bool { return slices.Equal(got, chainsOf(h)) })
		if !matches {
			t.Fatalf("got chains %v, want those of one history", got)
		}
	}
}

func chainsOf(h history) []string {
	var chains []string
	for _, u := range h {
		for i := range u.Deliveries {
			chains = append(chains, u.Deliveries[i].Chain.String())
		}
	}

	return chains
}

func TestPublishRefusesAnotherHistory(t *testing.T) {
	streamtest.OnEachRedis(t, func(t *testing.T, rdb redis.UniversalClient, keys bus.Keys) {
		p := publish.New(rdb, publish.Config{Keys: keys})
		const account = "user:a"
		common := history{}.appendUpdate(account, "common", 2)
		old := common.appendUpdate(account, "old", 1).appendUpdate(account, "old", 1)
		restored := common.appendUpdate(account, "restored", 1).appendUpdate(account, "restored", 2)
		forked := publish.Outcome{Status: bus.Forked, Last: 4}
		publications := func(h history) []publish.Publication {
			var pubs []publish.Publication
			for _, u := range h {
				pubs = append(pubs, publish.Publication{Update: u})
			}
			return pubs
		}

		requireOutcomes(t, p, publications(old[:1]), published(-1))
		requireOutcomes(t, p, publications(old[1:]), published(2), published(3))
		before := rdb.HGetAll(t.Context(), keys.BalanceHash(account)).Val()

		requireOutcomes(t, p, publications(restored), duplicate(4), duplicate(4),
			publish.Outcome{Status: bus.PartlyPublished, Last: 4})
		next := restored[:2].appendUpdate(account, "restored", 1)
		requireOutcomes(t, p, publications(next[2:]), forked)                                          // the same seq
		requireOutcomes(t, p, publications(next.appendUpdate(account, "restored", 1)[3:]), forked)     // the next seq
		requireOutcomes(t, p, []publish.Publication{{Update: next[2], AsStartingPoint: true}}, forked) // a starting point
		requireOutcomes(t, p, publications(old[2:]), duplicate(4))                                     // its own repeat
		if after := rdb.HGetAll(t.Context(), keys.BalanceHash(account)).Val(); !maps.Equal(before, after) {
			t.Errorf("got hash %v after the refusals, want %v", after, before)
		}
		requireSeqs(t, rdb, keys, account, "[1 2 3 4]")
	})
}
