package backfill_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/backfill"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/realtime"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMain(m *testing.M) {
	// A check takes about two seconds, so run few of them. -rapid.checks on the command line overrides this.
	_ = flag.Set("rapid.checks", "4")
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// world is a core with a ledger and Redis, and the subscribers of a test.
type world struct {
	*testing.T
	rdb     redis.UniversalClient
	keys    bus.Keys
	ledger  *wallet.Ledger
	written int // operations

	mu       sync.Mutex
	last     map[string]int64 // the newest seq of each account that a handler got
	handled  int              // events that were not repeats
	repeated int
}

func newWorld(t *testing.T) *world {
	url, namespace := testenv.Redis(t)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	core, err := realtime.Open(t.Context(), realtime.Config{
		Database: wallettest.SQLite(t),
		RedisURL: url,
		Keys:     keys,
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- core.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		err := errors.Join(<-ended, core.Close())
		if err != nil {
			t.Error(err)
		}
	})
	return &world{
		T:      t,
		rdb:    streamtest.Open(t, url),
		keys:   keys,
		ledger: core.Ledger,
		last:   map[string]int64{},
	}
}

const accounts = 5

// write does operations, each with one event.
func (w *world) write(operations int) {
	w.Helper()
	for range operations {
		w.written++
		_, err := w.ledger.Do(w.Context(), wallet.Op{
			Operation:      wallet.OpCredit,
			Account:        wallet.Account(fmt.Sprint("user:u", w.written%accounts)),
			Amount:         1,
			Reason:         "admin_credit",
			IdempotencyKey: fmt.Sprint("c", w.written),
		})
		if err != nil {
			w.Fatal(err)
		}
	}
}

// trim removes all published events from the streams, when all are published.
func (w *world) trim() {
	w.Helper()
	streamtest.WaitFor(w.T, "everything is published", func() bool {
		backlog, _, err := w.ledger.Backlog(w.Context())
		return err == nil && backlog == 0
	})
	for p := range w.keys.Partitions {
		err := w.rdb.XTrimMaxLen(w.Context(), w.keys.Stream(p), 0).Err()
		if err != nil {
			w.Fatal(err)
		}
	}
}

// handle checks the order of an account's events. It counts the ones that come again.
func (w *world) handle(e *bus.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.last[e.Account]
	switch {
	case e.Seq <= last:
		w.repeated++
	case e.Seq == last+1:
		w.last[e.Account] = e.Seq
		w.handled++
	default:
		w.Errorf("%s: got seq %d after %d", e.Account, e.Seq, last)
	}
}

func (w *world) counts() (handled, repeated int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.handled, w.repeated
}

// start starts a process of the group. stop ends it after its running handlers.
func (w *world) start(handle func(e *bus.Event)) (stop func()) {
	w.Helper()
	b, err := consumer.New(w.rdb, bus.Config{
		Keys:    w.keys,
		Group:   "g",
		Copies:  true,
		History: w.ledger,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	_, err = b.Subscribe(bus.Subscription{
		ID:    "s",
		Since: bus.FromFirstEvent,
		Handler: bus.HandlerFunc(func(_ context.Context, e *bus.Event) error {
			handle(e)
			return nil
		}),
	})
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(context.Background()) }()
	stop = sync.OnceFunc(func() {
		err := b.Close(context.Background())
		if err != nil {
			w.Error(err)
		}
		err = <-ended
		if err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(stop)
	return stop
}

func (w *world) waitForAll() {
	w.Helper()
	streamtest.WaitFor(w.T, "all events are handled", func() bool {
		handled, _ := w.counts()
		return handled == w.written
	})
}

// A group reads the history, which the streams do not have, and then the live events. It is stopped
// in the middle of the history and at the seam, and later is away for too long.
func TestSubscriptionGetsTheHistoryAndThenLiveEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(100)
	w.trim()

	reached := make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	stop := w.start(func(e *bus.Event) {
		w.handle(e)
		handled, _ := w.counts()
		if handled > 30 {
			once()
		}
	})
	<-reached
	w.write(20)
	stop()

	stop = w.start(w.handle)
	w.write(20)
	w.waitForAll()
	w.write(20)
	w.waitForAll()
	stop()
	stop = w.start(w.handle)
	w.write(20)
	w.waitForAll()
	stop()
	if _, repeated := w.counts(); repeated > 0 {
		t.Errorf("got %d events twice, want none", repeated)
	}

	w.write(30)
	w.trim()
	w.write(20)
	stop = w.start(w.handle)
	w.waitForAll()
	w.write(5)
	w.waitForAll()
	stop()
}

// Two processes share the history. Each event is handled once.
func TestProcessesShareTheHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(60)
	w.trim()
	seen := map[string]int{}
	handle := func(e *bus.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		seen[e.ID]++
	}
	first := w.start(handle)
	second := w.start(handle)
	w.write(60)
	streamtest.WaitFor(t, "all events are handled", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(seen) >= w.written
	})
	first()
	second()
	for id, n := range seen {
		if n != 1 {
			t.Errorf("event %s: got %d calls, want 1", id, n)
		}
	}
}

// The replies of a copier are lost, one after the other, and another copier continues each time.
// Each event is in the streams once.
func TestInterruptedCopierAddsEachEventOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(50)
	lossy := &lossyHook{}
	w.rdb.AddHook(lossy)
	copier, err := backfill.New(w.rdb, backfill.Config{Keys: w.keys, Group: "g", Name: "r", History: smallPages{w.ledger}, Rate: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	losses := 0
	for n := int64(1); ; n++ {
		lossy.left.Store(n)
		_, err = copier.Copy(t.Context())
		if err == nil {
			break
		}
		if errors.Is(err, backfill.ErrLocked) { // the reply that ends the lock was lost, or it is ending
			n--
			continue
		}
		losses++
	}
	if losses < 5 {
		t.Errorf("got %d lost replies, want at least 5", losses)
	}
	seqs := map[string]int64{}
	for p := range w.keys.Partitions {
		entries, err := w.rdb.XRange(t.Context(), w.keys.Replay(p, "g"), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			account := e.Values["account"].(string)
			seqs[account]++
			if got := e.Values["seq"]; got != fmt.Sprint(seqs[account]) {
				t.Fatalf("%s: got seq %v, want %d", account, got, seqs[account])
			}
		}
	}
	if got := seqs["user:u1"]; got != 10 || len(seqs) != accounts {
		t.Errorf("got %d events of user:u1 and %d accounts, want 10 and %d", got, len(seqs), accounts)
	}
}

// smallPages gives pages of at most 7 events.
type smallPages struct{ bus.History }

func (h smallPages) ReadHistory(ctx context.Context, q bus.HistoryQuery) (bus.HistoryPage, error) {
	q.Limit = 7
	return h.History.ReadHistory(ctx, q)
}

// lossyHook loses the reply of one script that adds events.
type lossyHook struct {
	left atomic.Int64 // scripts until the one whose reply is lost
}

func (h *lossyHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *lossyHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *lossyHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		isAdd := cmd.Name() == "evalsha" && len(cmd.Args()) > 20
		if err == nil && isAdd && h.left.Add(-1) == 0 {
			err = errors.New("the reply was lost")
			cmd.SetErr(err)
		}
		return err
	}
}
