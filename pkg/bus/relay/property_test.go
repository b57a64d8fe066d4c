package relay_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// TestStreamsHaveNoHoleAfterRandomFailures commits at random through two relays, while connections
// are cut, Redis is emptied, hashes are deleted and replies hang. In the end the outbox must be
// empty. Each account's stream must rise by one from its first seq to the last commit, without
// repeats. The hash must have the last seq, and the tail must have delivered all entries in the
// order of the stream.
func TestStreamsHaveNoHoleAfterRandomFailures(t *testing.T) {
	server := testenv.RedisServer(t)
	direct := streamtest.Open(t, server.URL())
	keys := bus.Keys{Partitions: 3}.WithDefaults()
	rapid.Check(t, func(rt *rapid.T) {
		if err := direct.FlushAll(t.Context()).Err(); err != nil {
			rt.Fatal(err)
		}
		w := newWorld(t, direct, server.Addr(), keys)
		defer w.close()
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{
			"commit", "commit", "commit", "commit", "commit", "commit", "late", "late", "orphan",
			"cut relay", "cut relay", "hang relay", "cut tail", "hang tail",
			"flush", "delete hash", "failover", "failover", "yield", "yield",
		}), 5, 60).Draw(rt, "steps")
		for _, step := range steps {
			w.runStep(step, rapid.IntRange(0, 1<<20).Draw(rt, "choice"))
		}
		w.checkEnd(rt)
	})
}

// loseNewestScript deletes an account's newest updates, as a failover to a lagging replica does.
var loseNewestScript = redis.NewScript(`
local lost, first, chain = {}, nil, nil
local n = 0
for _, e in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-')) do
  local f = {}
  for i = 1, #e[2], 2 do f[e[2][i]] = e[2][i + 1] end
  if f.account == ARGV[1] then
    if not lost[f.key] then
      if n >= tonumber(ARGV[3]) then
        chain = f.chain
        break
      end
      lost[f.key], n = true, n + 1
    end
    redis.call('XDEL', KEYS[1], e[1])
    redis.call('DEL', ARGV[2] .. f.key)
    first = tonumber(f.seq)
  end
end
if first and not chain then
  redis.call('DEL', KEYS[2])
elseif first and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'seq', first - 1, 'chain', chain)
end
return n
`)

// world is the state of the property test.
type world struct {
	t      *testing.T
	direct redis.UniversalClient
	keys   bus.Keys
	src    *memorySource
	relays [2]*relay.Relay
	nets   [3]*testenv.Proxy // two for the relays and one for the tail
	tail   *streamtest.Follower
	stops  []func()
	mu     [4]sync.Mutex // one for each account, like its row lock in a database
	late   sync.WaitGroup
}

func newWorld(t *testing.T, direct redis.UniversalClient, addr string, keys bus.Keys) *world {
	w := &world{t: t, direct: direct, keys: keys, src: newMemorySource()}
	for i := range w.nets {
		w.nets[i] = testenv.NewProxy(t, addr)
	}
	openClient := func(i int) redis.UniversalClient {
		rdb, err := redisconn.Open("redis://" + w.nets[i].Addr() + "?read_timeout=150ms&max_retries=1")
		if err != nil {
			t.Fatal(err)
		}
		w.stops = append(w.stops, func() { _ = rdb.Close() })
		return rdb
	}
	for i := range w.relays {
		r, stop := startRelay(t, w.src, openClient(i), keys, relay.Config{Page: 7, MaxQueue: 50, MaxBatch: 9})
		w.relays[i] = r
		w.stops = append(w.stops, stop)
	}
	w.tail = streamtest.Follow(t, openClient(2), tail.Config{Keys: keys, Check: 20 * time.Millisecond, Block: 10 * time.Millisecond})
	w.stops = append(w.stops, w.tail.Stop)
	return w
}

func (w *world) close() {
	w.late.Wait()
	for _, stop := range slices.Backward(w.stops) {
		stop()
	}
}

func accountName(i int) string {
	if i == 0 {
		return "model:0"
	}
	return fmt.Sprintf("user:%d", i)
}

// commit makes a transaction of one or two accounts. It holds their locks from the assignment of
// the outbox id until the offer. If visible is not nil, it waits for visible before the commit.
func (w *world) commit(choice int, r *relay.Relay, visible <-chan struct{}) {
	parties := []int{choice % 4}
	if other := choice / 4 % 4; other != parties[0] && choice%3 > 0 {
		parties = append(parties, other)
		slices.Sort(parties) // lock in a fixed order
	}
	var names []string
	for _, i := range parties {
		w.mu[i].Lock()
		names = append(names, accountName(i))
	}
	defer func() {
		for _, i := range parties {
			w.mu[i].Unlock()
		}
	}()
	id := w.src.reserveID()
	if visible != nil {
		<-visible
	}
	row := w.src.commit(id, 1+choice%3, names...)
	if r != nil {
		r.Offer([]bus.OutboxRow{row})
	}
}

func (w *world) runStep(name string, choice int) {
	ctx := w.t.Context()
	r := w.relays[choice%2]
	switch name {
	case "commit":
		for range 1 + choice%5 {
			w.commit(choice, r, nil)
			choice = choice*7 + 3
		}
	case "orphan": // the process dies before it can offer
		w.commit(choice, nil, nil)
	case "late": // becomes visible after transactions with higher ids
		gate := make(chan struct{})
		w.late.Go(func() { w.commit(choice, r, gate) })
		w.runLater(choice%20, func() { close(gate) })
	case "cut relay":
		w.nets[choice%2].Cut()
	case "hang relay":
		net := w.nets[choice%2]
		net.PauseReplies()
		w.runLater(choice%40, func() {
			net.Cut()
			net.Resume()
		})
	case "cut tail":
		w.nets[2].Cut()
	case "hang tail":
		w.nets[2].PauseRequests()
		w.runLater(choice%20, w.nets[2].Resume)
	case "flush":
		w.direct.FlushAll(ctx)
	case "delete hash":
		w.direct.Del(ctx, w.keys.BalanceHash(accountName(choice%4)))
	case "failover":
		account := accountName(choice % 4)
		partition := w.keys.Partition(account)
		err := loseNewestScript.Run(ctx, w.direct, []string{w.keys.Stream(partition), w.keys.BalanceHash(account)},
			account, w.keys.Dedup(partition, ""), choice%6).Err()
		if err != nil {
			w.t.Error(err)
		}
	case "yield": // gives the relays some time, which is not always enough
		for start := time.Now(); !w.src.isEmpty() && time.Since(start) < time.Duration(choice%15)*time.Millisecond; {
			w.direct.Ping(ctx)
		}
	}
}

// runLater calls f after some milliseconds, while other steps run.
func (w *world) runLater(millis int, f func()) {
	w.late.Add(1)
	time.AfterFunc(time.Duration(millis)*time.Millisecond, func() {
		defer w.late.Done()
		f()
	})
}

// checkEnd waits until all rows are published and checks the streams, the hashes and the tail.
func (w *world) checkEnd(rt *rapid.T) {
	w.late.Wait()
	// Commit once more after the last failure, since quiet accounts are repaired after reconnects
	// only.
	for i := range w.relays {
		for a := range 4 {
			w.src.commitAndOffer(w.relays[i], 1, accountName(a))
		}
	}
	streamtest.WaitFor(w.t, "an empty outbox", w.src.isEmpty)
	for i := range 4 {
		account := accountName(i)
		last := w.src.lastSeq(account)
		got := readSeqs(w.t, w.direct, w.keys, account)
		if len(got) == 0 || !slices.Equal(got, streamtest.SeqRange(got[0], last)) {
			rt.Fatalf("%s: got stream %v, want it to rise by one up to %d", account, got, last)
		}
		hash := w.direct.HGet(w.t.Context(), w.keys.BalanceHash(account), "seq").Val()
		if hash != fmt.Sprint(last) {
			rt.Fatalf("%s: got seq %s in the hash, want %d", account, hash, last)
		}
		// The tail may have missed or repeated entries that a failure deleted. It must have
		// delivered all entries that exist now, in order.
		streamtest.WaitFor(w.t, account+" at the tail", func() bool {
			return containsInOrder(w.tail.AllSeqs(account), got)
		})
	}
}

// containsInOrder reports whether list contains the numbers of sub in the same order.
func containsInOrder(list, sub []int64) bool {
	for _, n := range list {
		if len(sub) > 0 && n == sub[0] {
			sub = sub[1:]
		}
	}
	return len(sub) == 0
}
