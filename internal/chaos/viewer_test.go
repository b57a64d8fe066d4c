package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/rawclient"
	"github.com/redroomrewards/realtime/pkg/client"
)

// position is a seq of an account with its chain.
type position struct {
	seq   int64
	chain string
}

// viewer is a client that remembers every state that it was shown. It resumes with the newest one at
// the gateways in turn, as a real client does.
type viewer struct {
	w        *world
	load     *load
	name     string
	accounts []string
	options  viewerOptions

	cancel context.CancelFunc
	ended  chan struct{}

	lastEventID string // of the server-sent events; keepConnected uses it

	mu          sync.Mutex // protects the fields below
	states      map[string]*viewerState
	gateway     *program // of the present connection; nil: not known
	starts      int      // of the gateway, before the connection
	connections int
	resyncs     int
	balances    map[string]*client.LiveBalance // of an app
}

type viewerOptions struct {
	sse        bool          // server-sent events, otherwise a WebSocket
	app        bool          // an app with pkg/client, otherwise the frames themselves
	omitsChain bool          // resumes with after alone
	first      int           // the gateway that is tried first
	tokenTTL   time.Duration // the client connects again when its token ends
}

// viewerState is what a viewer was shown of an account.
type viewerState struct {
	position
	balances map[string]int64
	shown    []shownState
	changes  int  // resyncs with history_changed
	owed     bool // a resync must come before the next event
}

// shownState is one state that a viewer was shown.
type shownState struct {
	position
	balances [3]int64 // available, escrow, earned
	complete bool     // the balances are known to be those after this seq: of a snapshot
	changes  int      // how often the history had changed before
}

func (s *viewerState) balanceList() [3]int64 {
	return [3]int64{s.balances["available"], s.balances["escrow"], s.balances["earned"]}
}

// startViewer starts a viewer and returns when it has a state of each account.
func startViewer(w *world, l *load, name string, o viewerOptions, accounts []string) *viewer {
	w.Helper()
	v := &viewer{w: w, load: l, name: name, accounts: accounts, options: o, states: map[string]*viewerState{}}
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.ended = make(chan struct{})
	go v.keepConnected(ctx)
	w.Cleanup(v.stop)
	w.waitUntil(name+" is subscribed", func() bool { return v.hasStates() })
	return v
}

// stop closes the connection. It may be called twice.
func (v *viewer) stop() {
	v.cancel()
	<-v.ended
}

func (v *viewer) hasStates() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.states) == len(v.accounts)
}

// seqOf returns the newest seq that the viewer was shown.
func (v *viewer) seqOf(account string) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.states[account]
	if s == nil || s.owed {
		return 0
	}
	return s.seq
}

// keepConnected connects to the gateways in turn until ctx ends.
func (v *viewer) keepConnected(ctx context.Context) {
	defer close(v.ended)
	run := v.runWebSocket
	if v.options.sse {
		run = v.runEventStream
	}
	if v.options.app {
		run = v.runApp
	}
	for n := v.options.first; ctx.Err() == nil; n++ {
		gateway := v.w.gateways[n%len(v.w.gateways)]
		v.setGateway(gateway)
		_ = run(ctx, gateway) // under faults every connection may end
		pause(50 * time.Millisecond)
	}
}

// setGateway remembers the gateway of the present connection.
func (v *viewer) setGateway(gateway *program) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gateway = gateway
	if gateway != nil {
		v.starts = gateway.startCount()
	}
}

// markSeen records what the gateway has delivered.
func (v *viewer) markSeen(account string, seq int64) {
	if v.gateway != nil {
		v.load.seen.add(v.gateway, v.starts, account, seq)
	}
}

func (v *viewer) violate(format string, args ...any) {
	v.w.journal.violate("%s: %s", v.name, fmt.Sprintf(format, args...))
}

// handleFrame handles one frame. It returns false if the connection is of no more use.
func (v *viewer) handleFrame(f *rawclient.Frame) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch f.Op {
	case "welcome":
		v.connections++
	case "subscribed":
		v.handleSubscribed(f)
	case "event":
		v.handleEvent(f)
	case "resync":
		v.handleResync(f)
	case "error":
		if !f.HasCode("snapshot_unavailable") {
			v.violate("got the frame %s", f)
		}
		return false
	case "reconnect", "closed", "pong", "token_expiring", "unsubscribed":
	default:
		v.violate("got the frame %s", f)
	}
	return true
}

func (v *viewer) handleSubscribed(f *rawclient.Frame) {
	if len(f.Accounts) != len(v.accounts) {
		v.violate("subscribed to %d accounts, want %d", len(f.Accounts), len(v.accounts))
	}
	for _, a := range f.Accounts {
		s, resumed := v.states[a.Account]
		switch {
		case !slices.Contains(v.accounts, a.Account):
			v.violate("subscribed to %s, which was not asked for", a.Account)
		case resumed && a.Recovered:
			got := position{a.Seq, a.Chain}
			// Without chains in the request, the ledger's own chain at that seq is the answer.
			if got != s.position && !v.load.lossy {
				v.violate("resumes %s from %v, want %v", a.Account, got, s.position)
			}
			s.owed = false
		case resumed:
			s.owed = true
		case a.Snapshot == nil:
			v.violate("%s: got no snapshot", a.Account)
		default:
			s = &viewerState{}
			v.states[a.Account] = s
			v.setState(s, a.Snapshot, a.Seq, a.Chain)
		}
	}
}

func (v *viewer) handleResync(f *rawclient.Frame) {
	s := v.states[f.Account]
	if s == nil || f.Snapshot == nil {
		v.violate("got a resync of %s that is not subscribed, or without a snapshot", f.Account)
		return
	}
	v.resyncs++
	isBack := f.Seq < s.seq
	switch {
	case f.Reason == "history_changed" && !v.load.lossy:
		v.violate("%s: got a resync with history_changed from %v to seq %d, chain %s, but the ledger has lost nothing", f.Account, s.position, f.Seq, f.Chain)
	case f.Reason == "history_changed":
		s.changes++
	case f.Reason != "history_unavailable":
		v.violate("%s: got a resync with reason %q", f.Account, f.Reason)
	case isBack:
		v.violate("%s: got a resync with history_unavailable from %v back to seq %d, chain %s", f.Account, s.position, f.Seq, f.Chain)
	}
	s.owed = false
	v.setState(s, f.Snapshot, f.Seq, f.Chain)
}

// setState replaces the state of an account by a snapshot.
func (v *viewer) setState(s *viewerState, b *client.Balance, seq int64, chain string) {
	if b.Seq != seq || b.Chain != chain {
		v.violate("%s: the snapshot is at seq %d, chain %s; the frame says seq %d, chain %s", b.Account, b.Seq, b.Chain, seq, chain)
	}
	s.position = position{seq, chain}
	s.balances = map[string]int64{
		"available": b.Available,
		"escrow":    b.Escrow,
		"earned":    b.Earned,
	}
	s.shown = append(s.shown, shownState{s.position, s.balanceList(), true, s.changes})
	v.markSeen(b.Account, seq)
}

// handleEvent keeps an event. It must be the account's next one and follow from the balance before.
func (v *viewer) handleEvent(f *rawclient.Frame) {
	s := v.states[f.Account]
	switch {
	case s == nil:
		v.violate("%s: got event %d before it was subscribed", f.Account, f.Seq)
		return
	case s.owed:
		v.violate("%s: got event %d, want a resync first", f.Account, f.Seq)
	case f.Seq != s.seq+1:
		v.violate("%s: got event %d (chain %s) after %v", f.Account, f.Seq, f.Chain, s.position)
	}
	s.position = position{f.Seq, f.Chain}
	var e event
	err := json.Unmarshal(f.Event, &e)
	if err != nil {
		v.violate("%s: event %d: %v", f.Account, f.Seq, err)
	}
	if e.EventType == "wallet.balance_updated" {
		if e.BalanceBefore != s.balances[e.BalanceState] {
			v.violate("%s: event %d: %s before: got %d, want %d", f.Account, f.Seq, e.BalanceState, e.BalanceBefore, s.balances[e.BalanceState])
		}
		s.balances[e.BalanceState] = e.BalanceAfter
	}
	s.shown = append(s.shown, shownState{s.position, s.balanceList(), false, s.changes})
	v.markSeen(f.Account, f.Seq)
}
