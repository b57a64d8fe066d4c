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
	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// TestModel runs random actions on a model and checks the frames of all clients. Clients subscribe,
// unsubscribe and resume at one of two gateways, by themselves or because a gateway drains. Events
// are published, lost, repeated, read again, or late at one gateway. The ledger goes back in time.
// The core and the snapshots fail and recover, and a snapshot becomes older than events that were
// delivered.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(drawAction), 1, 60).Draw(rt, "actions")
		seed := rapid.Uint64().Draw(rt, "seed")
		perShard := rapid.SampledFrom([]int{1, 5, 1000}).Draw(rt, "memory")
		var failure error
		synctest.Test(t, func(*testing.T) {
			failure = newModel(seed, perShard).runActions(actions)
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

// A model has two gateways on one ledger, and three clients.
type model struct {
	ledger  *ledger
	source  *slowLedger
	config  Config
	nodes   [2]*modelNode
	clients [3]*modelClient
	opened  int // number of subscriptions so far; it is part of their names
}

// A modelNode is a gateway of a model.
type modelNode struct {
	hub       *Hub
	delivered map[string]int64 // newest seq of each account that the memory has had since it was dropped
	stop      func()
}

// A modelClient opens one connection after another. Only its reader uses it, or a goroutine that
// has waited until all others are blocked.
type modelClient struct {
	sinks   []*sink // the last one is open
	node    int     // index of its gateway
	todo    chan func()
	failure error
}

var (
	modelAccounts = []string{"user:u1", "model:m1"}
	modelNames    = []string{"all", "holds", "large"}
	modelFilters  = map[string]request.Filter{
		"all":   {},
		"holds": {Types: []string{"wallet.escrow_held"}},
		"large": {MinAmount: 100, Reasons: []string{"admin_credit"}},
	}
)

func newModel(seed uint64, perShard int) *model {
	m := &model{
		ledger: newLedger(),
		config: Config{
			MemoryEvents: perShard * feed.ShardCount,
			RetryFor:     time.Hour,
			MaxReplay:    25,
		},
	}
	m.source = &slowLedger{
		ledger: m.ledger,
		rand:   rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // not for security
	}
	for i := range m.nodes {
		m.nodes[i] = startModelNode(m.config, m.source)
	}
	return m
}

// startModelNode starts a gateway.
func startModelNode(cfg Config, source interface {
	Snapshots
	History
},
) *modelNode {
	n := &modelNode{
		hub:       NewHub(cfg, source, source),
		delivered: map[string]int64{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = n.hub.Run(ctx)
		close(ended)
	}()
	n.stop = func() {
		cancel()
		<-ended
	}
	return n
}

// connect opens a connection to the client's gateway.
func (m *model) connect(c *modelClient) {
	hub := m.nodes[c.node].hub
	k := newSink(hub, &Identity{Subject: "app", Accounts: modelAccounts})
	_ = hub.clients.addSession(k.session) // fails while it drains; the client then roams soon
	c.sinks = append(c.sinks, k)
}

// currentSink returns the open connection.
func (c *modelClient) currentSink() *sink {
	return c.sinks[len(c.sinks)-1]
}

// closeSink closes the open connection.
func (c *modelClient) closeSink() {
	s := c.currentSink().session
	s.endSession()
	if s.hub.clients.findSession(s.ID) != nil {
		s.hub.clients.removeSession(s, nil)
	}
}

// roam makes the client resume all its subscriptions at the other gateway.
func (m *model) roam(c *modelClient) {
	c.closeSink()
	m.ledger.mu.Lock()
	open, err := c.currentSink().checkFrames(m.ledger, modelFilters)
	m.ledger.mu.Unlock()
	if err != nil {
		c.failure = errors.Join(c.failure, err)
	}

	c.node = 1 - c.node
	m.connect(c)
	for _, sub := range slices.Sorted(maps.Keys(open)) {
		r := &modelRequest{shown: map[string]point{}}
		after := map[string]int64{}
		chain := map[string]bus.Chain{}
		for account, w := range open[sub] {
			r.shown[account] = w.shown
			after[account] = w.shown.seq
			chain[account] = w.shown.chain
		}
		r.ClientFrame = newModelFrame(sub, slices.Sorted(maps.Keys(after)))
		r.After = after
		if c != m.clients[0] { // the first client does not know chains
			r.Chain = chain
		}
		c.subscribe(r)
	}
}

// subscribe subscribes on the open connection.
func (c *modelClient) subscribe(r *modelRequest) {
	c.currentSink().handleRequest(r)
}

// unsubscribe closes the i-th subscription on the open connection, modulo their number.
func (c *modelClient) unsubscribe(i int) {
	s := c.currentSink().session
	if len(s.subs) > 0 {
		_ = s.handleUnsubscribe(s.subs[i%len(s.subs)].Name)
	}
}

// newModelFrame returns a subscribe frame with the filter of the subscription.
func newModelFrame(sub string, accounts []string) *protocol.ClientFrame {
	flt := modelFilters[filterName(sub)]
	f := &protocol.ClientFrame{
		Sub:      &sub,
		Accounts: accounts,
		Types:    flt.Types,
		Reasons:  flt.Reasons,
	}
	if flt.MinAmount > 0 {
		f.MinAmount = &flt.MinAmount
	}
	return f
}

// deliverTo delivers entries to the gateways.
func (m *model) deliverTo(nodes []*modelNode, batch []bus.Delivery, refill bool) {
	for _, n := range nodes {
		n.hub.Deliver(batch, refill)
		for _, d := range batch {
			if d.Type == bus.TypeHistoryChanged {
				n.delivered[d.Account] = d.Seq
				continue
			}
			n.delivered[d.Account] = max(n.delivered[d.Account], d.Seq)
		}
	}
}

// runActions runs the actions and checks the frames of all clients.
func (m *model) runActions(actions []action) error {
	var readers sync.WaitGroup
	for i := range m.clients {
		c := &modelClient{
			todo: make(chan func(), 200),
			node: i % 2,
		}
		m.clients[i] = c
		m.connect(c)
		readers.Go(func() { // like the reader of a connection: one frame after another
			for f := range c.todo {
				f()
			}
			c.closeSink()
		})
	}
	for _, a := range actions {
		m.runAction(a)
		<-time.After(time.Duration(a.Pause) * time.Millisecond)
	}
	failure := m.checkAfterRecovery()

	for _, c := range m.clients {
		close(c.todo)
	}
	readers.Wait()
	for _, n := range m.nodes {
		n.stop()
		failure = errors.Join(failure, n.checkNoFeeds())
	}
	return failure
}

// checkAfterRecovery makes the core and the snapshots available and checks the frames. Events that
// were delivered must have been sent. Events that were lost are sent with the next event.
func (m *model) checkAfterRecovery() error {
	m.ledger.update(func(l *ledger) {
		l.coreDown = false
		l.snapshotsDown = false
		l.noSnapshots = false
	})
	for _, account := range modelAccounts {
		m.repair(account)
	}
	<-time.After(time.Minute)
	failure := m.checkClients()
	for _, account := range modelAccounts {
		m.deliverTo(m.nodes[:], m.ledger.publishEvents(account, 1), false)
	}
	<-time.After(time.Minute)
	if failure == nil {
		failure = m.checkClients()
	}
	return failure
}

// checkNoFeeds checks that no feed is left.
func (n *modelNode) checkNoFeeds() error {
	accounts := n.hub.Stats().Accounts
	if accounts > 0 {
		return fmt.Errorf("accounts with feeds: got %d, want none", accounts)
	}
	return nil
}

// drainNode drains a gateway, so that its clients roam to the other one. A new gateway replaces it.
// It has the last n published entries of each account.
func (m *model) drainNode(i, n int) {
	// First all clients must have arrived, and all their frames must be answered.
	m.ledger.update(func(l *ledger) { l.coreDown = false })
	<-time.After(time.Minute)
	synctest.Wait()
	old := m.nodes[i]
	var leaving []*modelClient
	for _, c := range m.clients {
		if c.node == i {
			leaving = append(leaving, c)
		}
	}

	var draining sync.WaitGroup
	draining.Go(func() { old.hub.Drain(context.Background(), time.Second) })
	synctest.Wait()
	for _, c := range leaving {
		c.failure = errors.Join(c.failure, c.currentSink().checkDrained())
		c.todo <- func() { m.roam(c) }
	}
	draining.Wait()
	old.stop()
	m.nodes[i] = startModelNode(m.config, m.source)
	for _, account := range modelAccounts {
		m.deliverTo(m.nodes[i:i+1], m.ledger.lastPublished(account, n), true)
	}
}

// checkDrained checks that the client was asked to reconnect.
func (k *sink) checkDrained() error {
	frames := k.frames()
	if len(frames) == 0 {
		return errors.New("got no frame, want a reconnect frame")
	}
	last := frames[len(frames)-1]
	if !strings.HasPrefix(last, `{"op":"reconnect","afterMs":`) {
		return fmt.Errorf("got %s, want a reconnect frame", last)
	}
	if k.code != protocol.CloseRestart {
		return fmt.Errorf("close code: got %d, want %d", k.code, protocol.CloseRestart)
	}
	return nil
}

// checkClients checks the frames of all clients when all goroutines are blocked.
func (m *model) checkClients() error {
	synctest.Wait()
	for i, c := range m.clients {
		if c.failure != nil {
			return fmt.Errorf("client %d: %w", i, c.failure)
		}
		for n, k := range c.sinks {
			err := m.checkSink(c, k)
			if err != nil {
				frames := strings.Join(k.frames(), "\n")
				return fmt.Errorf("client %d, connection %d: %w\n%s", i, n, err, frames)
			}
		}
	}
	return nil
}

// checkSink checks the frames of one connection. The open connection must also be complete.
func (m *model) checkSink(c *modelClient, k *sink) error {
	open, err := k.checkFrames(m.ledger, modelFilters)
	if err != nil || k != c.currentSink() {
		return err
	}
	checker := &frameChecker{ledger: m.ledger, filters: modelFilters, open: open}
	err = checker.checkComplete(m.nodes[c.node].delivered)
	if err != nil {
		return err
	}
	if k.code != 0 {
		return fmt.Errorf("close code: got %d, want an open connection", k.code)
	}
	if len(open) != len(k.session.subs) {
		return fmt.Errorf("open subscriptions: got %d, want %d", len(open), len(k.session.subs))
	}
	return nil
}
