package relay_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
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

// The ledger goes back, and then to the newer history that was published before. All events of that
// history are published again, also if they are more than the relay plans at once.
func TestManyEventsArePublishedAgain(t *testing.T) {
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 1}
	src := newMemorySource()
	r, _ := startRelay(t, src, rdb, keys, relay.Config{})
	src.commitAndOffer(r, 1, "user:a")
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	backup := src.copyData()
	for range 200 {
		src.commitAndOffer(r, 1, "user:a")
	}
	streamtest.WaitFor(t, "an empty outbox", src.isEmpty)
	newer := src.copyData()

	src.failOver(backup)
	src.commitAndOffer(r, 1, "user:a")
	waitHealed(t, rdb, keys, src, nil, "user:a")
	src.failOver(newer)
	src.commitAndOffer(r, 1, "user:a")
	waitHealed(t, rdb, keys, src, nil, "user:a")
}
