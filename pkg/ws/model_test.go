package ws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// TestModel lets clients subscribe, unsubscribe, and resume at one of two gateways
// by themselves or because theirs drains, while events are published, lost,
// repeated, read again and late at one gateway, while the core and the hash come
// and go, and checks what every client saw.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(drawAction), 1, 60).Draw(rt, "actions")
		seed := rapid.Uint64().Draw(rt, "seed")
		perShard := rapid.SampledFrom([]int{1, 5, 1000}).Draw(rt, "memory")
		var failure error
		synctest.Test(t, func(*testing.T) { failure = newModel(seed, perShard).run(actions) })
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

// model is two gateways on one ledger, and three clients.
type model struct {
	ledger  *ledger
	source  *slowly
	config  Config
	nodes   [2]*modelNode
	clients [3]*modelClient
	opened  int // subscriptions so far, to name them
}

type modelNode struct {
	hub       *Hub
	delivered map[string]int64 // by account, the newest seq that the tail passed on
	stop      func()
}

// modelClient has a connection after the other. Only its reader touches it, and
// whoever has waited for all goroutines to block.
type modelClient struct {
	sinks   []*sink // the last one is open
	node    int     // where it is
	todo    chan func()
	failure error
}

var (
	modelAccounts = []string{"user:u1", "model:m1"}
	modelNames    = []string{"all", "holds", "large"}
	modelFilters  = map[string]filter{
		"all":   {},
		"holds": {types: []string{"wallet.escrow_held"}},
		"large": {minAmount: 100, reasons: []string{"admin_credit"}},
	}
)

func newModel(seed uint64, perShard int) *model {
	m := &model{ledger: newLedger(), config: Config{MemoryEvents: perShard * shards, RetryFor: time.Hour, MaxReplay: 25}}
	m.source = &slowly{ledger: m.ledger, rand: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // spread, not secrecy
	for i := range m.nodes {
		m.nodes[i] = m.node()
	}
	return m
}

// node starts a gateway.
func (m *model) node() *modelNode {
	n := &modelNode{hub: NewHub(m.config, m.source, m.source), delivered: map[string]int64{}}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() { _ = n.hub.Run(ctx); close(running) }()
	n.stop = func() { cancel(); <-running }
	return n
}

// connect opens a connection where the client is.
func (m *model) connect(c *modelClient) {
	k := newSink(m.nodes[c.node].hub, &Identity{Subject: "app", Accounts: modelAccounts})
	_ = m.nodes[c.node].hub.clients.add(k.session) // one that drains takes nobody: the client comes back soon
	c.sinks = append(c.sinks, k)
}

func (c *modelClient) now() *sink { return c.sinks[len(c.sinks)-1] }

// leave ends the connection.
func (c *modelClient) leave() {
	s := c.now().session
	s.end()
	if s.hub.clients.findByID(s.id) != nil {
		s.hub.clients.remove(s, nil)
	}
}

// roam has the client resume all its subscriptions at another gateway.
func (m *model) roam(c *modelClient) {
	c.leave()
	m.ledger.mu.Lock()
	open, err := checkFrames(c.now().frames(), m.ledger, modelFilters)
	m.ledger.mu.Unlock()
	if err != nil {
		c.failure = errors.Join(c.failure, err)
	}
	c.node = 1 - c.node
	m.connect(c)
	k := c.now()
	for _, sub := range slices.Sorted(maps.Keys(open)) {
		after := map[string]int64{}
		for a, w := range open[sub] {
			after[a] = w.shown
		}
		f := m.frame(sub, slices.Sorted(maps.Keys(after)))
		f.After = after
		if r := k.session.subscribe(f); r != nil {
			k.session.reply(protocol.ErrorFrame(&sub, r))
		}
	}
}

// frame subscribes under a name whose first part is that of its filter.
func (m *model) frame(sub string, accounts []string) *protocol.ClientFrame {
	flt := modelFilters[strings.SplitN(sub, "#", 2)[0]]
	f := &protocol.ClientFrame{Sub: &sub, Accounts: accounts, Types: flt.types, Reasons: flt.reasons}
	if flt.minAmount > 0 {
		f.MinAmount = &flt.minAmount
	}
	return f
}

// deliver passes entries on to the gateways.
func (m *model) deliver(ds []bus.Delivery, refill bool, to ...*modelNode) {
	for _, n := range to {
		n.hub.Deliver(ds, refill)
		for _, d := range ds {
			n.delivered[d.Account] = max(n.delivered[d.Account], d.Seq)
		}
	}
}

func (m *model) run(actions []action) error {
	var readers sync.WaitGroup
	for i := range m.clients {
		c := &modelClient{todo: make(chan func(), 200), node: i % 2}
		m.clients[i] = c
		m.connect(c)
		readers.Go(func() { // as a connection's reader: one frame after the other
			for f := range c.todo {
				f()
			}
			c.leave()
		})
	}
	for _, a := range actions {
		m.act(a)
		<-time.After(time.Duration(a.Pause) * time.Millisecond)
	}
	// Everything comes back. What the tail passed on must be shown by itself; what it
	// lost shows with the next event.
	m.ledger.set(func(l *ledger) { l.coreAway, l.hashAway, l.noHash = false, false, false })
	<-time.After(time.Minute)
	failure := m.check()
	for _, a := range modelAccounts {
		m.deliver(m.ledger.publish(a, 1), false, m.nodes[:]...)
	}
	<-time.After(time.Minute)
	if failure == nil {
		failure = m.check()
	}
	for _, c := range m.clients {
		close(c.todo)
	}
	readers.Wait()
	for _, n := range m.nodes {
		n.stop()
		for i := range n.hub.shards {
			for a, tp := range n.hub.shards[i].topics {
				if len(tp.feeds) > 0 && failure == nil {
					failure = fmt.Errorf("%s: feeds are left behind", a)
				}
			}
		}
	}
	return failure
}

func (m *model) act(a action) {
	l, account, c := m.ledger, modelAccounts[a.Account], m.clients[a.Client]
	switch a.Kind {
	case "publish":
		m.deliver(l.publish(account, a.N), false, m.nodes[:]...)
	case "lose":
		l.publish(account, a.N)
	case "lag":
		m.deliver(l.publish(account, a.N), false, m.nodes[a.Client%2])
	case "again", "refill":
		l.mu.Lock()
		all := slices.Clone(l.events[account][:l.shown[account]])
		l.mu.Unlock()
		m.deliver(all[max(0, len(all)-a.N):], a.Kind == "refill", m.nodes[:]...)
	case "subscribe":
		m.opened++
		accounts := []string{account}
		if a.Both {
			accounts = modelAccounts
		}
		f := m.frame(fmt.Sprintf("%s#%d", modelNames[a.Name], m.opened), accounts)
		if a.After != -1 {
			l.mu.Lock()
			f.After = map[string]int64{account: max(0, int64(len(l.events[account])-a.After))}
			l.mu.Unlock()
		}
		c.todo <- func() {
			if r := c.now().session.subscribe(f); r != nil {
				c.now().session.reply(protocol.ErrorFrame(f.Sub, r))
			}
		}
	case "unsubscribe":
		c.todo <- func() {
			if s := c.now().session; len(s.subs) > 0 {
				_ = s.unsubscribe(s.subs[a.N%len(s.subs)].name)
			}
		}
	case "roam":
		c.todo <- func() { m.roam(c) }
	case "drain":
		m.drain(a.Client % 2)
	case "core":
		l.set(func(l *ledger) { l.coreAway = !l.coreAway })
	case "hash":
		l.set(func(l *ledger) { l.hashAway = !l.hashAway })
	case "nohash":
		l.set(func(l *ledger) { l.noHash = !l.noHash })
	case "forget":
		l.set(func(l *ledger) { l.historyAt += int64(a.N) })
	case "recheck":
		for _, n := range m.nodes {
			_ = n.hub.Recheck(context.Background())
		}
	case "rest":
		synctest.Wait()
	}
}

// drain sends a gateway's clients to the other one, and puts a new gateway in its
// place, which has read nothing yet.
func (m *model) drain(i int) {
	// Nobody is on the way to it any more, and everybody is answered.
	m.ledger.set(func(l *ledger) { l.coreAway = false })
	<-time.After(time.Minute)
	synctest.Wait()
	old := m.nodes[i]
	var leaving []*modelClient
	for _, c := range m.clients {
		if c.node == i {
			leaving = append(leaving, c)
		}
	}
	var drained sync.WaitGroup
	drained.Go(func() { old.hub.Drain(context.Background(), time.Second) })
	synctest.Wait()
	for _, c := range leaving {
		k := c.now()
		if got := k.frames(); len(got) == 0 || !strings.HasPrefix(got[len(got)-1], `{"op":"reconnect","afterMs":`) || k.code != protocol.CloseRestart {
			c.failure = errors.Join(c.failure, fmt.Errorf("drained without a reconnect frame, closed with %d", k.code))
		}
		c.todo <- func() { m.roam(c) }
	}
	drained.Wait()
	old.stop()
	m.nodes[i] = m.node()
}

// check looks at what every client saw, once nothing moves any more.
func (m *model) check() error {
	synctest.Wait()
	for i, c := range m.clients {
		if c.failure != nil {
			return fmt.Errorf("client %d: %w", i, c.failure)
		}
		for n, k := range c.sinks {
			got := k.frames()
			open, err := checkFrames(got, m.ledger, modelFilters)
			if k == c.now() {
				if err == nil {
					err = complete(open, m.ledger, modelFilters, m.nodes[c.node].delivered)
				}
				if err == nil && k.code != 0 {
					err = fmt.Errorf("closed with %d", k.code)
				}
				if err == nil && len(open) != len(k.session.subs) {
					err = fmt.Errorf("%d subscriptions are open, the client knows of %d", len(k.session.subs), len(open))
				}
			}
			if err != nil {
				return fmt.Errorf("client %d, connection %d: %w\n%s", i, n, err, strings.Join(got, "\n"))
			}
		}
	}
	return nil
}
