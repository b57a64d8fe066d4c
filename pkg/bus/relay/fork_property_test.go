package relay_test

import (
	"fmt"
	neturl "net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// TestStreamsFollowALedgerThatGoesBackAtRandom commits at random through two relays, while the
// ledger is replaced by copies of its earlier and later states, with and without notice, relays
// restart, and their connections are cut or hang.
// In the end Redis must have the ledger's histories. A reader of the streams that obeys the markers
// must have seen no hole, no repeat, and no marker that names an event that it does not have.
func TestStreamsFollowALedgerThatGoesBackAtRandom(t *testing.T) {
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	var clients [2]redis.UniversalClient
	var nets [2]*testenv.Proxy
	for i := range clients {
		parsed, err := neturl.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		nets[i] = testenv.NewProxy(t, parsed.Host)
		parsed.Host = nets[i].Addr()
		parsed.RawQuery = "read_timeout=150ms&max_retries=1"
		clients[i] = streamtest.Open(t, parsed.String())
	}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		w := &forkWorld{
			t:    t,
			rdb:  rdb,
			keys: bus.Keys{Namespace: fmt.Sprintf("%s-%d", namespace, run), Partitions: 2},
			src:  newMemorySource(),
			nets: nets,
		}
		for i := range w.relays {
			w.startRelay(i, clients[i])
		}
		defer func() {
			for _, stop := range w.stops {
				stop()
			}
			w.late.Wait()
		}()

		steps := rapid.SliceOfN(rapid.SampledFrom([]string{
			"commit", "commit", "commit", "commit", "commit", "orphan", "copy", "copy",
			"failover", "failover", "replace", "restart", "settle", "settle", "yield",
			"many", "cut", "hang",
		}), 5, 40).Draw(rt, "steps")
		for _, step := range steps {
			choice := rapid.IntRange(0, 1<<20).Draw(rt, "choice")
			if step == "restart" {
				w.stops[choice%2]()
				w.startRelay(choice%2, clients[choice%2])
				continue
			}
			w.runStep(step, choice)
		}

		w.settle()
		w.checkReader(rt)
	})
}

type forkWorld struct {
	t      *testing.T
	rdb    redis.UniversalClient
	keys   bus.Keys
	src    *memorySource
	nets   [2]*testenv.Proxy // of the relays
	late   sync.WaitGroup
	copies []ledgerCopy
	relays [2]*relay.Relay
	stops  [2]func()
}

func (w *forkWorld) startRelay(i int, rdb redis.UniversalClient) {
	w.relays[i], w.stops[i] = startRelay(w.t, w.src, rdb, w.keys, relay.Config{Page: 5, MaxBatch: 7})
}

func (w *forkWorld) runStep(name string, choice int) {
	r := w.relays[choice%2]
	switch name {
	case "commit":
		for range 1 + choice%5 {
			w.src.commitAndOffer(r, 1+choice%3, w.chooseAccounts(choice)...)
			choice = choice*7 + 3
		}
	case "orphan":
		w.src.commitAndOffer(nil, 1+choice%3, w.chooseAccounts(choice)...)
	case "many": // more than the relay plans at once
		for range 70 {
			w.src.commitAndOffer(r, 1, accountName(choice%4))
		}
	case "cut":
		w.nets[choice%2].Cut()
	case "hang":
		net := w.nets[choice%2]
		net.PauseReplies()
		w.late.Add(1)
		time.AfterFunc(time.Duration(choice%40)*time.Millisecond, func() {
			defer w.late.Done()
			net.Cut()
			net.Resume()
		})
	case "copy":
		w.copies = append(w.copies, w.src.copyData())
	case "failover":
		if len(w.copies) > 0 {
			w.src.failOver(w.copies[choice%len(w.copies)])
		}
	case "replace":
		if len(w.copies) > 0 {
			w.src.replaceData(w.copies[choice%len(w.copies)])
		}
	case "settle":
		w.settle()
	case "yield": // gives the relays some time, which is not always enough
		for start := time.Now(); time.Since(start) < time.Duration(choice%30)*time.Millisecond; {
			w.rdb.Ping(w.t.Context())
		}
	}
}

// settle waits until Redis has the ledger's histories. Before, it commits once more for each account:
// a row of which nobody noticed that it belongs to another database is found by the next one.
func (w *forkWorld) settle() {
	w.t.Helper()
	for a := range 4 {
		w.src.commitAndOffer(w.relays[a%2], 1, accountName(a))
	}
	waitHealed(w.t, w.rdb, w.keys, w.src, nil, accountName(0), accountName(1), accountName(2), accountName(3))
}

func (w *forkWorld) chooseAccounts(choice int) []string {
	accounts := []string{accountName(choice % 4)}
	if other := accountName(choice / 4 % 4); other != accounts[0] {
		accounts = append(accounts, other)
	}
	return accounts
}

// checkReader reads the streams as a strict reader.
func (w *forkWorld) checkReader(rt *rapid.T) {
	histories := map[string][]string{} // chains by account; the index is seq-1
	for i := range w.keys.Partitions {
		for _, e := range w.rdb.XRange(w.t.Context(), w.keys.Stream(i), "-", "+").Val() {
			account := fmt.Sprint(e.Values["account"])
			chain := fmt.Sprint(e.Values["chain"])
			seq, err := strconv.Atoi(fmt.Sprint(e.Values["seq"]))
			if err != nil {
				rt.Fatal(err)
			}
			h := histories[account]
			switch {
			case e.Values["type"] != bus.TypeHistoryChanged:
				if seq != len(h)+1 {
					rt.Fatalf("%s: got event %d after %d", account, seq, len(h))
				}
				h = append(h, chain)
			case seq > len(h):
				rt.Fatalf("%s: got a marker at %d after event %d", account, seq, len(h))
			case seq > 0 && h[seq-1] != chain:
				rt.Fatalf("%s: got a marker with chain %s at %d, want %s", account, chain, seq, h[seq-1])
			default:
				h = slices.Clone(h[:seq])
			}
			histories[account] = h
		}
	}
}
