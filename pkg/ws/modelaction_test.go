package ws

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// An action is a step of a model. It is drawn before the model runs.
type action struct {
	Kind    string
	Client  int
	Name    int
	Account int
	N       int
	After   int // how many events back; -1: without after; -2: newer than the newest event
	Both    bool
	Pause   int // ms after the action
}

var actionKinds = []string{
	"publish",
	"publish",
	"publish",
	"publish",
	"lose",
	"lag",
	"repeat",
	"refill",
	"go back",
	"go back",
	"commit",
	"repair",
	"reread",
	"subscribe",
	"subscribe",
	"subscribe",
	"unsubscribe",
	"roam",
	"roam",
	"drain",
	"toggle core",
	"toggle snapshots",
	"toggle known snapshots",
	"set back snapshots",
	"cut history",
	"recheck",
	"wait",
}

func drawAction(rt *rapid.T) action {
	return action{
		Kind:    rapid.SampledFrom(actionKinds).Draw(rt, "kind"),
		Client:  rapid.IntRange(0, 2).Draw(rt, "client"),
		Name:    rapid.IntRange(0, 2).Draw(rt, "name"),
		Account: rapid.IntRange(0, 2).Draw(rt, "account"),
		N:       rapid.IntRange(1, 12).Draw(rt, "n"),
		After:   rapid.IntRange(-2, 30).Draw(rt, "after"),
		Both:    rapid.Bool().Draw(rt, "both"),
		Pause:   rapid.IntRange(0, 40).Draw(rt, "pause"),
	}
}

// runAction runs one action. The readers of the clients run the actions of clients.
func (m *model) runAction(a action) {
	l := m.ledger
	account := modelAccounts[a.Account]
	c := m.clients[a.Client]
	switch a.Kind {
	case "publish":
		m.repair(account)
		m.deliverTo(m.nodes[:], l.publishEvents(account, a.N), false)
	case "go back":
		l.goBack(account, a.N)
	case "commit":
		l.mu.Lock()
		_, isForked := l.forked[account]
		l.mu.Unlock()
		if isForked { // otherwise the events would be published at once
			l.commitEvent(account)
		}
	case "repair":
		m.repair(account)
	case "reread":
		for _, n := range m.nodes {
			n.tail <- func() {
				n.hub.ForgetMemory()
				n.forget(modelAccounts...)
			}
		}
		m.deliverTo(m.nodes[:], l.lastPublished(account, 3*a.N), false)
		for _, n := range m.nodes {
			m.recheck(n, true)
		}
	case "lose":
		m.repair(account)
		l.publishEvents(account, a.N)
	case "lag":
		m.repair(account)
		i := a.Client % 2
		m.deliverTo(m.nodes[i:i+1], l.publishEvents(account, a.N), false)
	case "repeat":
		m.deliverTo(m.nodes[:], l.lastContinuous(account, a.N), false)
	case "refill":
		m.deliverTo(m.nodes[:], l.lastContinuous(account, a.N), true)
	case "subscribe":
		r := m.drawnRequest(a)
		c.todo <- func() { c.subscribe(r) }
	case "unsubscribe":
		c.todo <- func() { c.unsubscribe(a.N) }
	case "roam":
		c.todo <- func() { m.roam(c) }
	case "drain":
		m.drainNode(a.Client%2, a.N)
	case "toggle core":
		l.update(func(l *ledger) { l.coreDown = !l.coreDown })
	case "toggle snapshots":
		l.update(func(l *ledger) { l.snapshotsDown = !l.snapshotsDown })
	case "toggle known snapshots":
		l.update(func(l *ledger) { l.noSnapshots = !l.noSnapshots })
	case "set back snapshots":
		l.setBackSnapshot(account, a.N)
		for _, n := range m.nodes {
			n.snapshotSetBack(account)
		}
	case "cut history":
		l.update(func(l *ledger) { l.historyAfter += int64(a.N) })
	case "recheck":
		for _, n := range m.nodes {
			m.recheck(n, a.Both)
		}
	case "wait":
		synctest.Wait()
	}
}

// snapshotSetBack records that new subscriptions begin with an older snapshot. They get the later
// events only if the memory has them.
func (n *modelNode) snapshotSetBack(account string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetRechecked(account)
}

// repair makes the relay notice that the ledger went back.
func (m *model) repair(account string) {
	m.deliverTo(m.nodes[:], m.ledger.repair(account), false)
}

// lastPublished returns the account's last n published entries.
func (l *ledger) lastPublished(account string, n int) []bus.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.stream[account])
	return all[max(0, len(all)-n):]
}

// lastContinuous returns those of the account's last n published entries that follow the last marker.
// A gateway does not get entries from before a marker again unless its memory was dropped.
func (l *ledger) lastContinuous(account string, n int) []bus.Delivery {
	list := l.lastPublished(account, n)
	for i, d := range slices.Backward(list) {
		if d.Type == bus.TypeHistoryChanged {
			return list[i+1:]
		}
	}
	return list
}

// drawnRequest returns the subscribe frame of an action. A client that resumes has been shown the
// ledger's event with the seq, if there is one.
func (m *model) drawnRequest(a action) *modelRequest {
	m.opened++
	account := modelAccounts[a.Account]
	accounts := []string{account}
	if a.Both {
		accounts = modelAccounts
	}
	sub := fmt.Sprintf("%s#%d", modelNames[a.Name], m.opened)
	r := &modelRequest{ClientFrame: newModelFrame(sub, accounts)}
	if a.After == -1 {
		return r
	}

	m.ledger.mu.Lock()
	defer m.ledger.mu.Unlock()
	events := m.ledger.events[account]
	after := max(0, len(events)-a.After)
	r.After = map[string]int64{account: int64(after)}
	if 0 < after && after <= len(events) {
		r.shown = map[string]point{account: {seq: int64(after), chain: events[after-1].Chain}}
	}
	switch {
	case a.N%3 == 0: // without chain
	case after == 0:
		r.Chain = map[string]bus.Chain{account: 0}
	case after <= len(events) && a.N%3 == 1:
		r.Chain = map[string]bus.Chain{account: events[after-1].Chain}
	case a.N == 2:
		r.Chain = map[string]bus.Chain{account: 1} // no event has it
	}
	return r
}

// A slowLedger delays the answers of a ledger, so that events are delivered in the meantime.
type slowLedger struct {
	*ledger
	mu   sync.Mutex // protects rand
	rand *rand.Rand
}

// pause waits up to 29 ms of fake time.
func (s *slowLedger) pause() {
	s.mu.Lock()
	d := time.Duration(s.rand.IntN(30)) * time.Millisecond
	s.mu.Unlock()
	<-time.After(d)
}

func (s *slowLedger) Get(ctx context.Context, account string) (bus.Balance, bool, error) {
	s.pause()
	b, ok, err := s.ledger.Get(ctx, account)
	s.pause()
	return b, ok, err
}

func (s *slowLedger) Balance(ctx context.Context, account string) (bus.Balance, bool, error) {
	s.pause()
	b, ok, err := s.ledger.Balance(ctx, account)
	s.pause()
	return b, ok, err
}

func (s *slowLedger) Events(
	ctx context.Context, account string, after int64, limit int,
) (events []bus.Delivery, last int64, err error) {
	const pageSize = 7 // small, so that there are many pages
	s.pause()
	events, last, err = s.ledger.Events(ctx, account, after, min(limit, pageSize))
	s.pause()
	return events, last, err
}

// flooredSnapshots are snapshots that refuse to be older than what the gateway has seen, like the
// cache of a gateway.
type flooredSnapshots struct {
	*slowLedger

	isOff bool

	mu     sync.Mutex // protects floors
	floors map[string]int64
}

func (s *flooredSnapshots) floor(account string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floors[account]
}

func (s *flooredSnapshots) Get(ctx context.Context, account string) (bus.Balance, bool, error) {
	floor := s.floor(account)
	b, ok, err := s.slowLedger.Get(ctx, account)
	if ok && !s.isOff && b.Seq < floor && b.Seq < s.floor(account) {
		return bus.Balance{}, false, errUnavailable
	}
	return b, ok, err
}

func (s *flooredSnapshots) RequireSeq(account string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floors[account] = max(s.floors[account], seq)
}

func (s *flooredSnapshots) Rewind(account string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floors[account] = min(s.floors[account], seq)
}
