package ws

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// sink is a transport in memory: what a client sees, in order. Unless it is held
// up it takes everything at once.
type sink struct {
	session *session

	mu    sync.Mutex // protects what follows, and the order of frames
	got   []string
	code  protocol.CloseCode
	still bool // takes nothing
}

func newSink(h *Hub, identity *Identity) *sink {
	k := &sink{}
	k.session = newSession(h, "test")
	k.session.transport = k
	k.session.identity = identity
	return k
}

func (k *sink) wakeWriter()      { k.flushQueue() }
func (k *sink) wasHeard() bool   { return true }
func (k *sink) kindName() string { return "sink" }

func (k *sink) flushQueue() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.still {
		var buf netconn.Buffer
		if !buf.FillFrom(&k.session.queue) {
			return
		}
		for _, it := range buf.Items {
			k.got = append(k.got, string(it.Frame))
		}
	}
}

func (k *sink) closeWith(code protocol.CloseCode, _ string) {
	k.session.queue.Seal(true)
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
	Accounts []protocol.SubscribedAccount
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
		return f.passes(recent.NewEvent(&l.events[account][seq-1], nil))
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
		case "error", "pong", "reconnect":
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
				if f.passes(recent.NewEvent(&l.events[a][seq-1], nil)) {
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
	"publish", "publish", "publish", "publish", "lose", "lag", "again", "refill",
	"subscribe", "subscribe", "subscribe", "unsubscribe", "roam", "roam", "drain",
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
