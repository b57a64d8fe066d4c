package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/realtime"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// A group lives several lives. Each one ends at a command to Redis, before or after Redis has executed
// it, as if the process were killed there. Meanwhile events are written, streams are trimmed, and the
// ledger goes back to an earlier time. In the end, a follower of the accounts has the ledger's
// histories: no hole, each account in order, and repeats only where they are documented.
func TestGroupSurvivesDeathAtAnyCommand(t *testing.T) {
	t.Parallel()
	w := newCrashWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		w.startGroup(rt)
		for range rapid.IntRange(1, 3).Draw(rt, "lives") {
			w.write(rapid.IntRange(0, 12).Draw(rt, "writes"))
			w.change(rapid.SampledFrom([]string{"nothing", "nothing", "trim", "copy", "back"}).Draw(rt, "change"))
			w.live(deathPoint{
				command: rapid.SampledFrom(commands).Draw(rt, "command"),
				number:  rapid.SampledFrom([]int64{1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).Draw(rt, "number"),
				isAfter: rapid.Bool().Draw(rt, "after"),
			}, rapid.IntRange(0, 3).Draw(rt, "writes meanwhile"))
		}

		w.endGroup()
	})
}

// Each of these lives has once ended with a hole, or with live events that never began.
func TestGroupSurvivesCertainDeaths(t *testing.T) {
	t.Parallel()
	w := newCrashWorld(t)
	w.write(20)
	for _, tc := range []struct {
		name   string
		at     deathPoint
		change string // after this life
	}{
		{name: "between the removal and the acknowledgement of copies", at: deathPoint{command: "xdel", number: 1, isAfter: true}},
		{name: "before the removal of copies", at: deathPoint{command: "xdel", number: 1}},
		{name: "in a page, and the ledger goes back", at: deathPoint{command: "evalsha", number: 5, isAfter: true}, change: "back"},
		{name: "at the seam, and the ledger goes back", at: deathPoint{command: "hgetall", number: 1}, change: "back"},
		{name: "never, and the ledger goes back", change: "back"},
		{name: "at the seam, and the streams are trimmed", at: deathPoint{command: "hgetall", number: 1}, change: "trim"},
	} {
		w.startGroup(t)
		w.change("copy")
		w.write(13)
		w.live(tc.at, 0)
		w.change(tc.change)
		w.write(8)
		w.endGroup()
		if t.Failed() {
			t.Fatal(tc.name)
		}
	}
}

// crashWorld is a core whose ledger may go back, and a group that is killed.
type crashWorld struct {
	t        *testing.T
	database string
	url      string
	keys     bus.Keys
	rdb      redis.UniversalClient
	core     *realtime.Core
	stopCore func()
	written  int

	ledger atomic.Pointer[wallet.Ledger] // of the present core

	// Of the present group.
	fail      interface{ Fatal(args ...any) }
	groups    int
	group     string
	mu        sync.Mutex
	follower  *follower
	backup    []byte // of the database; nil: there is none
	mayRepeat bool
}

func newCrashWorld(t *testing.T) *crashWorld {
	url, namespace := testenv.Redis(t)
	w := &crashWorld{
		t:        t,
		database: wallettest.SQLite(t),
		url:      url,
		keys:     bus.Keys{Namespace: namespace, Partitions: 2},
		rdb:      streamtest.Open(t, url),
	}
	w.startCore()
	t.Cleanup(func() { w.stopCore() })
	return w
}

func (w *crashWorld) startCore() {
	w.t.Helper()
	core, err := realtime.Open(w.t.Context(), realtime.Config{
		Database: w.database,
		RedisURL: w.url,
		Keys:     w.keys,
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}

	w.core = core
	w.ledger.Store(core.Ledger)
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- core.Run(ctx) }()
	w.stopCore = sync.OnceFunc(func() {
		stop()
		err := errors.Join(<-ended, core.Close())
		if err != nil {
			w.t.Error(err)
		}
	})
}

// ReadHistory implements bus.History with the present ledger.
func (w *crashWorld) ReadHistory(ctx context.Context, q bus.HistoryQuery) (bus.HistoryPage, error) {
	q.Limit = 5
	return w.ledger.Load().ReadHistory(ctx, q)
}

func (w *crashWorld) databaseFile() string { return strings.TrimPrefix(w.database, "sqlite:") }

// copyLedger notes the present state of the ledger.
func (w *crashWorld) copyLedger() {
	w.stopCore()
	content, err := os.ReadFile(w.databaseFile())
	if err != nil {
		w.t.Fatal(err)
	}

	w.backup = content
	w.startCore()
}

// takeLedgerBack restores the noted state. Redis has all events before: there are no markers for events
// that were never published.
func (w *crashWorld) takeLedgerBack() {
	w.t.Helper()
	w.waitUntilPublished()
	w.stopCore()
	err := os.WriteFile(w.databaseFile(), w.backup, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}

	w.startCore()
	w.mayRepeat = true
	w.follower.mayConflict = true
}

func (w *crashWorld) write(operations int) {
	w.t.Helper()
	for range operations {
		w.written++
		_, err := w.core.Ledger.Do(w.t.Context(), wallet.Op{
			Operation:      wallet.OpCredit,
			Account:        wallet.Account(fmt.Sprint("user:u", w.written%accounts)),
			Amount:         1,
			Reason:         "admin_credit",
			IdempotencyKey: fmt.Sprint("c", w.written),
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *crashWorld) waitUntilPublished() {
	w.t.Helper()
	streamtest.WaitFor(w.t, "everything is published", func() bool {
		backlog, _, err := w.core.Ledger.Backlog(w.t.Context())
		return err == nil && backlog == 0
	})
}

// trim removes all published events from the streams.
func (w *crashWorld) trim() {
	w.t.Helper()
	w.waitUntilPublished()
	for p := range w.keys.Partitions {
		err := w.rdb.XTrimMaxLen(w.t.Context(), w.keys.Stream(p), 0).Err()
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *crashWorld) startGroup(fail interface{ Fatal(args ...any) }) {
	w.fail = fail
	w.groups++
	w.group = fmt.Sprint("g", w.groups)
	w.follower = &follower{histories: map[string][]bus.Chain{}, lives: map[string]int{}}
	w.backup = nil
	w.mayRepeat = false
}

// endGroup lets the group live until it has all events.
func (w *crashWorld) endGroup() {
	w.write(accounts) // so that the relay and the group see each account
	w.live(deathPoint{}, 1)
}

// change does what happens between two lives.
func (w *crashWorld) change(name string) {
	switch name {
	case "trim":
		w.trim()
		w.mayRepeat = true // if the group was away, it gets the last minute again
	case "copy":
		w.copyLedger()
	case "back":
		if w.backup == nil {
			w.copyLedger()
			w.write(7)
		} else {
			w.takeLedgerBack()
		}
	}
}

// live starts a process of the group and waits until it is dead, or has all events. It writes some
// meanwhile, and again when the process has all, so that live events must have begun.
func (w *crashWorld) live(at deathPoint, writes int) {
	w.t.Helper()
	w.follower.beginLife()
	mortal := &mortalHook{at: at}
	rdb := streamtest.Open(w.t, w.url)
	rdb.AddHook(mortal)
	b, err := consumer.New(rdb, bus.Config{
		Keys:         w.keys,
		Group:        w.group,
		Consumer:     "c",
		History:      w,
		DrainTimeout: time.Millisecond,
		Logger:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}

	_, err = b.Subscribe(bus.Subscription{
		ID:    "s",
		Since: bus.FromFirstEvent,
		Handler: bus.HandlerFunc(func(ctx context.Context, e *bus.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if mortal.isDead.Load() {
				return errDead
			}

			return w.follower.handle(e)
		}),
	})
	if err != nil {
		w.t.Fatal(err)
	}

	ctx, kill := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	end := sync.OnceValue(func() error {
		kill()
		return <-ended
	})
	defer func() { _ = end() }()
	w.write(writes)
	w.waitForAll(mortal)
	w.write(2)
	w.waitForAll(mortal)
	w.mu.Lock()
	mortal.isDead.Store(true)
	fault := w.follower.fault
	if w.follower.repeats > 0 && !w.mayRepeat {
		fault = fmt.Sprintf("%d events were handled twice in one life", w.follower.repeats)
	}

	w.mu.Unlock()
	err = end()
	if err != nil {
		w.t.Fatal(err)
	}

	_ = rdb.Close()
	if fault != "" {
		w.fail.Fatal(fault)
	}

	// The lock of a dead process ends after a while.
	err = w.rdb.Del(w.t.Context(), w.keys.Backfill(0, w.group)+":s:lock").Err()
	if err != nil {
		w.t.Fatal(err)
	}
}

// waitForAll waits until the process is dead or has all events.
func (w *crashWorld) waitForAll(mortal *mortalHook) {
	w.t.Helper()
	truth := w.readTruth()
	streamtest.WaitFor(w.t, "the process is dead or has all events", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		hasAll := maps.EqualFunc(truth, w.follower.histories, slices.Equal)
		return mortal.isDead.Load() || hasAll || w.follower.fault != ""
	})
}

// readTruth returns the chains of each account's events in the ledger.
func (w *crashWorld) readTruth() map[string][]bus.Chain {
	w.t.Helper()
	truth := map[string][]bus.Chain{}
	cursor := ""
	for {
		page, err := w.core.Ledger.AllEvents(w.t.Context(), wallet.EventQuery{Cursor: cursor, Limit: 1000})
		if err != nil {
			w.t.Fatal(err)
		}

		for _, e := range page.Events {
			truth[e.Account] = append(truth[e.Account], e.Chain)
		}

		cursor = page.Next
		if !page.More {
			return truth
		}
	}
}

// follower keeps the histories of accounts, as a handler with a guard by seq does.
type follower struct {
	histories   map[string][]bus.Chain
	mayConflict bool           // the ledger has gone back
	lives       map[string]int // in which an event was handled, by chain
	life        int
	repeats     int // events that this life had handled
	fault       string
}

func (f *follower) beginLife() {
	f.life++
	f.repeats = 0
}

func (f *follower) handle(e *bus.Event) error {
	history := f.histories[e.Account]
	known := int64(len(history))
	switch {
	case e.Type == bus.TypeHistoryChanged && e.Seq > known:
		f.fault = fmt.Sprintf("%s: got a marker at %d after event %d", e.Account, e.Seq, known)
	case e.Type == bus.TypeHistoryChanged:
		f.histories[e.Account] = slices.Clip(history[:e.Seq])
		return nil
	case e.Seq > known+1:
		f.fault = fmt.Sprintf("%s: got event %d after %d", e.Account, e.Seq, known)
	case e.Seq == known+1:
		f.histories[e.Account] = append(history, e.Chain)
	case e.Chain != history[e.Seq-1] && !f.mayConflict:
		f.fault = fmt.Sprintf("%s: got event %d of another history", e.Account, e.Seq)
	}

	id := e.Account + e.Chain.String()
	if f.lives[id] == f.life {
		f.repeats++
	}

	f.lives[id] = f.life
	return nil
}

// deathPoint is the command at which a process dies. An empty command means never.
type deathPoint struct {
	command string
	number  int64 // of the command in this life, from 1 on
	isAfter bool  // Redis executes the command
}

// commands are the commands of a process of a group.
var commands = []string{
	"evalsha", "evalsha", "evalsha", "evalsha", "hset", "xack", "xdel", "xreadgroup", "hget", "hmget", "hgetall", "xinfo", "xpending",
	"get", "xlen", "xgroup", "xrange",
}

var errDead = errors.New("the process is dead")

// mortalHook sends nothing to Redis from the point of death on.
type mortalHook struct {
	at     deathPoint
	count  atomic.Int64
	isDead atomic.Bool
}

// survive reports whether Redis executes the command. It dies at the point of death.
func (h *mortalHook) survive(cmd redis.Cmder) bool {
	if h.isDead.Load() {
		return false
	}

	if cmd.Name() == h.at.command && h.count.Add(1) == h.at.number {
		h.isDead.Store(true)
		return h.at.isAfter
	}

	return true
}

func (h *mortalHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *mortalHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		var err error
		if h.survive(cmd) {
			err = next(ctx, cmd)
		}

		if h.isDead.Load() {
			err = errDead
			cmd.SetErr(err)
		}

		return err
	}
}

func (h *mortalHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		sent := 0
		for sent < len(cmds) && h.survive(cmds[sent]) {
			sent++
		}

		isTransaction := cmds[0].Name() == "multi"
		if isTransaction && sent < len(cmds) {
			sent = 0
		}

		var err error
		if sent > 0 {
			err = next(ctx, cmds[:sent])
		}

		if h.isDead.Load() {
			err = errDead
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}

		return err
	}
}
