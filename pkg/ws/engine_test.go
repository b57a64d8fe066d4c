package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/internal/token"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// sink is a transport in memory: what a client sees, in order. Unless it is held
// up it takes everything at once.
type sink struct {
	session *session

	mu    sync.Mutex // protects what follows, and the order of frames
	got   []string
	code  closeCode
	still bool // takes nothing
}

func newSink(h *Hub, claims *token.Claims) *sink {
	k := &sink{}
	k.session = newSession(h, newID(), "test")
	k.session.transport = k
	k.session.claims = claims
	return k
}

func (k *sink) wake()        { k.flush() }
func (k *sink) alive() bool  { return true }
func (k *sink) name() string { return "sink" }

func (k *sink) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.still {
		items := k.session.out.take(nil, 100, 1<<20)
		if len(items) == 0 {
			return
		}
		for _, it := range items {
			k.got = append(k.got, string(it.frame))
		}
	}
}

func (k *sink) shut(code closeCode, _ string) {
	k.session.out.seal(true)
	if k.mu.TryLock() { // flush never ends up here
		if k.code == 0 {
			k.code = code
		}
		k.mu.Unlock()
	}
}

func (k *sink) frames() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.got)
}

// serverFrame is what the checks need of any frame.
type serverFrame struct {
	Op       string
	Sub      string
	Code     string
	Account  string
	Seq      int64
	Snapshot *bus.Balance
	Accounts []opened
	Event    struct{ EventID string }
}

// watch is what the model knows of one account of an open subscription.
type watch struct {
	from  int64 // everything up to here is in the snapshot, or was had before
	shown int64 // newest event that was shown, or from
}

// checkFrames reads what a client saw against the promise: after subscribed, the
// events with a higher seq that pass the filter, none missing, none twice, in
// order, or an explicit resync. It returns the open subscriptions.
func checkFrames(got []string, l *ledger, filters map[string]filter) (map[string]map[string]*watch, error) {
	open := map[string]map[string]*watch{}
	passes := func(sub, account string, seq int64) bool {
		f := filters[sub]
		return f.passes(newEvent(&l.events[account][seq-1], nil))
	}
	skipped := func(sub, account string, w *watch, to int64) error {
		for seq := w.shown + 1; seq < to; seq++ {
			if passes(sub, account, seq) {
				return fmt.Errorf("%s %s: event %d is missing before %d", sub, account, seq, to)
			}
		}
		return nil
	}
	for i, raw := range got {
		var f serverFrame
		if err := json.Unmarshal([]byte(raw), &f); err != nil {
			return nil, fmt.Errorf("frame %q: %w", raw, err)
		}
		name := strings.SplitN(f.Sub, "#", 2)[0]
		switch f.Op {
		case "subscribed":
			if open[f.Sub] != nil {
				return nil, fmt.Errorf("frame %d: %s is open already", i, f.Sub)
			}
			open[f.Sub] = map[string]*watch{}
			for _, a := range f.Accounts {
				if a.Snapshot != nil && a.Snapshot.Seq != a.Seq {
					return nil, fmt.Errorf("frame %d: snapshot of %d with seq %d", i, a.Snapshot.Seq, a.Seq)
				}
				open[f.Sub][a.Account] = &watch{from: a.Seq, shown: a.Seq}
			}
		case "unsubscribed":
			delete(open, f.Sub)
		case "event", "resync":
			w := open[f.Sub][f.Account]
			if w == nil {
				return nil, fmt.Errorf("frame %d: %s of %s, which is not open", i, f.Op, f.Sub)
			}
			if f.Op == "resync" {
				if f.Seq < w.shown || f.Snapshot == nil || f.Snapshot.Seq != f.Seq {
					return nil, fmt.Errorf("frame %d: resync to %d after %d", i, f.Seq, w.shown)
				}
				w.from, w.shown = f.Seq, f.Seq
				continue
			}
			if f.Seq <= w.shown {
				return nil, fmt.Errorf("frame %d: event %d of %s again or late, after %d", i, f.Seq, f.Account, w.shown)
			}
			if !passes(name, f.Account, f.Seq) {
				return nil, fmt.Errorf("frame %d: event %d does not pass %s", i, f.Seq, name)
			}
			if err := skipped(name, f.Account, w, f.Seq); err != nil {
				return nil, err
			}
			if want := fmt.Sprintf("%s-%d", f.Account, f.Seq); f.Event.EventID != want || strings.Contains(raw, "full") {
				return nil, fmt.Errorf("frame %d: payload %s, want the view of %s", i, raw, want)
			}
			w.shown = f.Seq
		case "error", "pong":
		default:
			return nil, fmt.Errorf("frame %d: %s", i, raw)
		}
	}
	return open, nil
}

// complete checks that nothing that passes is still to come, up to that seq of
// each account.
func complete(open map[string]map[string]*watch, l *ledger, filters map[string]filter, upTo map[string]int64) error {
	for sub, accounts := range open {
		f := filters[strings.SplitN(sub, "#", 2)[0]]
		for a, w := range accounts {
			for seq := w.shown + 1; seq <= upTo[a]; seq++ {
				if f.passes(newEvent(&l.events[a][seq-1], nil)) {
					return fmt.Errorf("%s %s: event %d never came, %d was the last", sub, a, seq, w.shown)
				}
			}
		}
	}
	return nil
}

// slowly delays the answers of the ledger, so that deliveries come in between.
type slowly struct {
	*ledger
	mu   sync.Mutex // protects rand
	rand *rand.Rand
}

func (s *slowly) pause() {
	s.mu.Lock()
	d := time.Duration(s.rand.IntN(30)) * time.Millisecond
	s.mu.Unlock()
	<-time.After(d) // in the bubble's time
}

func (s *slowly) Get(ctx context.Context, account string) (bus.Balance, bool, error) {
	s.pause()
	b, ok, err := s.ledger.Get(ctx, account)
	s.pause()
	return b, ok, err
}

func (s *slowly) Balance(ctx context.Context, account string) (bus.Balance, bool, error) {
	s.pause()
	b, ok, err := s.ledger.Balance(ctx, account)
	s.pause()
	return b, ok, err
}

func (s *slowly) Events(ctx context.Context, account string, after int64, limit int) ([]bus.Delivery, int64, error) {
	s.pause()
	ds, last, err := s.ledger.Events(ctx, account, after, min(limit, 7)) // small pages, so that there are many
	s.pause()
	return ds, last, err
}

// action is one step of the state machine, drawn before it runs.
type action struct {
	Kind    string
	Client  int
	Name    int
	Account int
	N       int
	After   int // how far back; -1: no after; -2: beyond the newest
	Both    bool
	Pause   int
}

var kinds = []string{
	"publish", "publish", "publish", "publish", "lose", "again", "refill",
	"subscribe", "subscribe", "subscribe", "unsubscribe",
	"core", "hash", "nohash", "forget", "recheck", "rest",
}

func drawAction(rt *rapid.T) action {
	return action{
		Kind:    rapid.SampledFrom(kinds).Draw(rt, "kind"),
		Client:  rapid.IntRange(0, 2).Draw(rt, "client"),
		Name:    rapid.IntRange(0, 2).Draw(rt, "name"),
		Account: rapid.IntRange(0, 1).Draw(rt, "account"),
		N:       rapid.IntRange(1, 12).Draw(rt, "n"),
		After:   rapid.IntRange(-2, 30).Draw(rt, "after"),
		Both:    rapid.Bool().Draw(rt, "both"),
		Pause:   rapid.IntRange(0, 40).Draw(rt, "pause"),
	}
}

// TestModel lets clients subscribe, resume and unsubscribe while events are
// published, lost, repeated and read again, while the core and the hash come and
// go, and checks what every client saw.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(drawAction), 1, 60).Draw(rt, "actions")
		seed := rapid.Uint64().Draw(rt, "seed")
		perShard := rapid.SampledFrom([]int{1, 5, 1000}).Draw(rt, "memory")
		var failure error
		synctest.Test(t, func(t *testing.T) { failure = runModel(actions, seed, perShard) })
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

func runModel(actions []action, seed uint64, perShard int) error {
	accounts := []string{"user:u1", "model:m1"}
	filters := map[string]filter{
		"all":   {},
		"holds": {types: []string{"wallet.escrow_held"}},
		"large": {minAmount: 100, reasons: []string{"admin_credit"}},
	}
	names := []string{"all", "holds", "large"}
	l := newLedger()
	src := &slowly{ledger: l, rand: rand.New(rand.NewPCG(seed, seed))}
	h := NewHub(Config{MemoryEvents: perShard * shards, RetryFor: time.Hour, MaxReplay: 25}, src, src)
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() { _ = h.Run(ctx); close(running) }()

	sinks := make([]*sink, 3)
	todo := make([]chan func(), 3)
	var readers sync.WaitGroup
	for i := range sinks {
		sinks[i] = newSink(h, &token.Claims{Subject: "app", Accounts: accounts})
		todo[i] = make(chan func(), 100)
		readers.Go(func() { // as a connection's reader: one frame after the other
			for f := range todo[i] {
				f()
			}
			sinks[i].session.end()
		})
	}
	check := func(upTo map[string]int64) error {
		synctest.Wait()
		for i, k := range sinks {
			got := k.frames()
			open, err := checkFrames(got, l, filters)
			if err == nil {
				err = complete(open, l, filters, upTo)
			}
			if err == nil && k.code != 0 {
				err = fmt.Errorf("closed with %d", k.code)
			}
			if err == nil && len(open) != len(k.session.subs) {
				err = fmt.Errorf("%d subscriptions are open, the client knows of %d", len(k.session.subs), len(open))
			}
			if err != nil {
				return fmt.Errorf("client %d: %w\n%s", i, err, strings.Join(got, "\n"))
			}
		}
		return nil
	}
	delivered := map[string]int64{} // by account, the newest seq that the tail passed on
	deliver := func(ds []bus.Delivery, refill bool) {
		h.Deliver(ds, refill)
		for _, d := range ds {
			delivered[d.Account] = max(delivered[d.Account], d.Seq)
		}
	}
	opened := 0
	for _, a := range actions {
		account, k := accounts[a.Account], sinks[a.Client]
		switch a.Kind {
		case "publish":
			deliver(l.publish(account, a.N), false)
		case "lose":
			l.publish(account, a.N)
		case "again", "refill":
			l.mu.Lock()
			all := slices.Clone(l.events[account][:l.shown[account]])
			l.mu.Unlock()
			deliver(all[max(0, len(all)-a.N):], a.Kind == "refill")
		case "subscribe":
			opened++
			name := names[a.Name]
			sub := fmt.Sprintf("%s#%d", name, opened)
			flt := filters[name]
			f := &clientFrame{Sub: &sub, Accounts: []string{account}, Types: flt.types, Reasons: flt.reasons}
			if flt.minAmount > 0 {
				f.MinAmount = &flt.minAmount
			}
			if a.Both {
				f.Accounts = accounts
			}
			if a.After != -1 {
				l.mu.Lock()
				f.After = map[string]int64{account: max(0, int64(len(l.events[account])-a.After))}
				l.mu.Unlock()
			}
			todo[a.Client] <- func() {
				if r := k.session.subscribe(f); r != nil {
					k.session.reply(errorFrame(&sub, r))
				}
			}
		case "unsubscribe":
			todo[a.Client] <- func() {
				if n := len(k.session.subs); n > 0 {
					_ = k.session.unsubscribe(k.session.subs[a.N%n].name)
				}
			}
		case "core":
			l.set(func(l *ledger) { l.coreAway = !l.coreAway })
		case "hash":
			l.set(func(l *ledger) { l.hashAway = !l.hashAway })
		case "nohash":
			l.set(func(l *ledger) { l.noHash = !l.noHash })
		case "forget":
			l.set(func(l *ledger) { l.historyAt += int64(a.N) })
		case "recheck":
			_ = h.Recheck(ctx)
		case "rest":
			synctest.Wait()
		}
		<-time.After(time.Duration(a.Pause) * time.Millisecond)
	}
	// Everything comes back. What the tail passed on must be shown by itself; what it
	// lost shows with the next event.
	l.set(func(l *ledger) { l.coreAway, l.hashAway, l.noHash = false, false, false })
	<-time.After(time.Minute)
	failure := check(delivered)
	for _, a := range accounts {
		deliver(l.publish(a, 1), false)
	}
	<-time.After(time.Minute)
	if failure == nil {
		failure = check(delivered)
	}
	for i := range todo {
		close(todo[i])
	}
	readers.Wait()
	cancel()
	<-running
	for i := range h.shards {
		for a, tp := range h.shards[i].topics {
			if len(tp.feeds) > 0 && failure == nil {
				failure = fmt.Errorf("%s: feeds are left behind", a)
			}
		}
	}
	return failure
}
