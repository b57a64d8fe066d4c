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

// TestWhateverHappensStreamsHaveNoHole commits at random through two relays, while connections
// are cut, Redis is emptied, hashes are deleted, and replies hang. In the end the
// outbox is empty; each account's stream rises by one from where it starts to the last
// commit, without repeats; the hash agrees; and the tail has delivered all that is in
// the streams, in their order.
func TestWhateverHappensStreamsHaveNoHole(t *testing.T) {
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
			"cut relay", "cut relay", "hang relay", "cut tail", "hang tail", "flush", "delete hash", "failover", "failover", "yield", "yield",
		}), 5, 60).Draw(rt, "steps")
		for _, step := range steps {
			w.step(step, rapid.IntRange(0, 1<<20).Draw(rt, "choice"))
		}
		w.settle(rt)
	})
}

// loseNewest makes Redis forget an account's newest groups, as a failover to a
// replica that lags does.
var loseNewest = redis.NewScript(`
local lost, first = {}, nil
local n = 0
for _, e in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-')) do
  local f = {}
  for i = 1, #e[2], 2 do f[e[2][i]] = e[2][i + 1] end
  if f.account == ARGV[1] then
    if not lost[f.key] then
      if n >= tonumber(ARGV[3]) then break end
      lost[f.key], n = true, n + 1
    end
    redis.call('XDEL', KEYS[1], e[1])
    redis.call('DEL', ARGV[2] .. f.key)
    first = tonumber(f.seq)
  end
end
if first == 1 then
  redis.call('DEL', KEYS[2])
elseif first and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'seq', first - 1)
end
return n
`)

// world is what the property test acts upon.
type world struct {
	t      *testing.T
	direct redis.UniversalClient
	keys   bus.Keys
	src    *memory
	relays [2]*relay.Relay
	nets   [3]*testenv.Proxy // of the relays and the tail
	tail   *streamtest.Follower
	stops  []func()
	mu     [4]sync.Mutex // one for each account, as its row lock in a database
	late   sync.WaitGroup
}

func newWorld(t *testing.T, direct redis.UniversalClient, addr string, keys bus.Keys) *world {
	w := &world{t: t, direct: direct, keys: keys, src: newMemory()}
	for i := range w.nets {
		w.nets[i] = testenv.NewProxy(t, addr)
	}
	client := func(i int) redis.UniversalClient {
		rdb, err := redisconn.Open("redis://" + w.nets[i].Addr() + "?read_timeout=150ms&max_retries=1")
		if err != nil {
			t.Fatal(err)
		}
		w.stops = append(w.stops, func() { _ = rdb.Close() })
		return rdb
	}
	for i := range w.relays {
		r, stop := relayWith(t, w.src, client(i), keys, relay.Config{Page: 7, MaxQueue: 50, MaxBatch: 9})
		w.relays[i] = r
		w.stops = append(w.stops, stop)
	}
	w.tail = streamtest.Follow(t, client(2), tail.Config{Keys: keys, Check: 20 * time.Millisecond, Block: 10 * time.Millisecond})
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

// commit makes a transaction of one or two accounts, with their locks held from the
// moment the outbox id is taken until it is offered.
func (w *world) commit(choice int, r *relay.Relay, meanwhile <-chan struct{}) {
	parties := []int{choice % 4}
	if other := choice / 4 % 4; other != parties[0] && choice%3 > 0 {
		parties = append(parties, other)
		slices.Sort(parties) // locks are taken in order
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
	id := w.src.reserve()
	if meanwhile != nil {
		<-meanwhile
	}
	row := w.src.commit(id, 1+choice%3, names...)
	if r != nil {
		r.Offer([]bus.OutboxRow{row})
	}
}

func (w *world) step(name string, choice int) {
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
	case "late": // becomes visible after others that took their id later
		gate := make(chan struct{})
		w.late.Go(func() { w.commit(choice, r, gate) })
		w.after(choice%20, func() { close(gate) })
	case "cut relay":
		w.nets[choice%2].Cut()
	case "hang relay":
		net := w.nets[choice%2]
		net.PauseReplies()
		w.after(choice%40, func() { net.Cut(); net.Resume() })
	case "cut tail":
		w.nets[2].Cut()
	case "hang tail":
		w.nets[2].PauseRequests()
		w.after(choice%20, w.nets[2].Resume)
	case "flush":
		w.direct.FlushAll(ctx)
	case "delete hash":
		w.direct.Del(ctx, w.keys.BalanceHash(accountName(choice%4)))
	case "failover":
		account := accountName(choice % 4)
		partition := w.keys.Partition(account)
		err := loseNewest.Run(ctx, w.direct, []string{w.keys.Stream(partition), w.keys.BalanceHash(account)},
			account, w.keys.Dedup(partition, ""), choice%6).Err()
		if err != nil {
			w.t.Error(err)
		}
	case "yield": // let the relays come to something, but not always to an end
		for start := time.Now(); !w.src.empty() && time.Since(start) < time.Duration(choice%15)*time.Millisecond; {
			w.direct.Ping(ctx)
		}
	}
}

// after does something later, while other steps go on.
func (w *world) after(millis int, do func()) {
	w.late.Add(1)
	time.AfterFunc(time.Duration(millis)*time.Millisecond, func() { defer w.late.Done(); do() })
}

// settle waits until all is published and compares.
func (w *world) settle(rt *rapid.T) {
	w.late.Wait()
	for i := range w.relays { // one commit after the last trouble: quiet accounts heal by reconnects only
		for a := range 4 {
			w.src.run(w.relays[i], 1, accountName(a))
		}
	}
	streamtest.WaitFor(w.t, "an empty outbox", w.src.empty)
	for i := range 4 {
		account := accountName(i)
		last := w.src.lastSeq(account)
		got := entriesOf(w.t, w.direct, w.keys, account)
		if len(got) == 0 || !slices.Equal(got, streamtest.UpTo(got[0], last)) {
			rt.Fatalf("%s: stream %v; want it to rise by one up to %d", account, got, last)
		}
		hash := w.direct.HGet(w.t.Context(), w.keys.BalanceHash(account), "seq").Val()
		if hash != fmt.Sprint(last) {
			rt.Fatalf("%s: hash has seq %s; want %d", account, hash, last)
		}
		// What was there before trouble may have come or not, and may come again; all that is
		// there now has come, in its order.
		streamtest.WaitFor(w.t, account+" at the tail", func() bool {
			return contains(w.tail.All(account), got)
		})
	}
}

// contains tells whether some of list are sub, in its order.
func contains(list, sub []int64) bool {
	for _, n := range list {
		if len(sub) > 0 && n == sub[0] {
			sub = sub[1:]
		}
	}
	return len(sub) == 0
}
