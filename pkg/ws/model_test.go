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
	"sync/atomic"
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
// are published, lost, repeated, read again, or late at one gateway. The tails deliver them in parts,
// while clients subscribe. The ledger goes back in time. The core and the snapshots fail and recover,
// and a snapshot becomes older than events that were delivered. What Recheck has found must be sent.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(drawAction), 1, 60).Draw(rt, "actions")
		seed := rapid.Uint64().Draw(rt, "seed")
		perShard := rapid.SampledFrom([]int{1, 5, 1000}).Draw(rt, "memory")
		partSize := rapid.SampledFrom([]int{1, 3, 1000}).Draw(rt, "part")
		// Without floors, a small memory forgets an event that a snapshot lacks too. Nobody knows it then.
		hasFloors := rapid.Bool().Draw(rt, "floors") || perShard < 1000
		var failure error
		synctest.Test(t, func(*testing.T) {
			m := newModel(seed, perShard)
			m.ledger.memoryForgets = perShard < 1000
			m.partSize = partSize
			m.hasFloors = hasFloors
			failure = m.runActions(actions)
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
	// partSize is the number of entries that the tails deliver at once.
	partSize int
	// hasFloors is true if the snapshots keep the promise of the interface. They do not if the cache
	// evicted an account.
	hasFloors bool
	opened    int // number of subscriptions so far; it is part of their names
}

// A modelNode is a gateway of a model.
type modelNode struct {
	hub   *Hub
	stop  func()
	tail  chan func()   // what the tail does, in order
	ended chan struct{} // closed by stop

	snapshots *flooredSnapshots

	mu        sync.Mutex       // protects the fields below
	delivered map[string]int64 // newest seq of each account that the memory has had since it was dropped
	rechecked []foundSeqs      // what Recheck has found
}

// A modelClient opens one connection after another. Only its reader uses it, or a goroutine that
// has waited until all others are blocked.
type modelClient struct {
	sinks   []*sink // the last one is open
	node    int     // index of its gateway
	todo    chan func()
	failure error
}

// modelOrder numbers the calls of Recheck and the subscriptions in the order in which they begin.
var modelOrder atomic.Int64

var (
	modelAccounts = []string{"user:u1", "model:m1", "model:m98"} // the first and the last share a shard
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
		tail:      make(chan func(), 1000),
		ended:     make(chan struct{}),
		delivered: map[string]int64{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.hub.Run(ctx) })
	running.Go(func() {
		for work := range n.tail {
			work()
		}
	})
	n.stop = func() {
		close(n.tail)
		close(n.ended)
		cancel()
		running.Wait()
	}
	return n
}

// startNode starts a gateway with its own cache of snapshots.
func (m *model) startNode() *modelNode {
	s := &flooredSnapshots{slowLedger: m.source, floors: map[string]int64{}, isOff: !m.hasFloors}
	n := startModelNode(m.config, s)
	n.snapshots = s
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

// deliverTo makes the tails of the gateways deliver entries, in parts.
func (m *model) deliverTo(nodes []*modelNode, batch []bus.Delivery, refill bool) {
	for _, n := range nodes {
		for part := range slices.Chunk(batch, m.partSize) {
			n.tail <- func() {
				n.deliverPart(part, refill)
				m.source.pause()
			}
		}
	}
}

// deliverPart delivers some entries.
func (n *modelNode) deliverPart(part []bus.Delivery, refill bool) {
	for _, d := range part {
		n.snapshots.RequireSeq(d.Account, d.Seq)
	}
	n.hub.Deliver(part, refill)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range part {
		if d.Type == bus.TypeHistoryChanged {
			n.delivered[d.Account] = d.Seq
			n.forgetRechecked(d.Account)
			continue
		}
		n.delivered[d.Account] = max(n.delivered[d.Account], d.Seq)
	}
}

// foundSeqs are the newest seqs that a Recheck has found. They must have been sent to subscriptions
// that were opened before it. Others may begin with what the memory has.
type foundSeqs struct {
	order int64 // when it began
	seqs  map[string]int64
}

// known returns the newest seq of the account that a subscription must have been sent which was
// opened at the order.
func (n *modelNode) known(account string, order int64) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.delivered[account]
	for _, found := range n.rechecked {
		if order < found.order {
			known = max(known, found.seqs[account])
		}
	}
	return known
}

// forgetRechecked drops what Recheck has found of the account. The caller holds mu.
func (n *modelNode) forgetRechecked(account string) {
	for _, found := range n.rechecked {
		delete(found.seqs, account)
	}
}

// forget records that the gateway no longer knows an account's events, or those of all accounts.
// Snapshots that are older hide them from new subscriptions until the next event.
func (n *modelNode) forget(accounts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, account := range accounts {
		delete(n.delivered, account)
		n.forgetRechecked(account)
	}
}

// recheck calls Recheck until it succeeds, as a gateway does.
func (m *model) recheck(n *modelNode, fromLedger bool) {
	go func() {
		for {
			order := modelOrder.Add(1)
			<-time.After(time.Millisecond) // the feeds of subscriptions with a lower order are added
			setbacks, found := m.ledger.newestSeqs(fromLedger)
			err := n.hub.Recheck(context.Background(), fromLedger)
			if err == nil {
				m.ledger.update(func(l *ledger) {
					if l.setbacks == setbacks {
						n.addRechecked(foundSeqs{order: order, seqs: found})
					}
				})
				return
			}
			select {
			case <-time.After(time.Second):
			case <-n.ended:
				return
			}
		}
	}()
}

// addRechecked records what Recheck has found.
func (n *modelNode) addRechecked(found foundSeqs) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rechecked = append(n.rechecked, found)
}

// newestSeqs returns the newest seq of each account in the ledger, or in its snapshot. It leaves out
// accounts that went back, since their snapshots have another history. setbacks changes when an
// account goes back or its snapshot becomes older.
func (l *ledger) newestSeqs(fromLedger bool) (setbacks int, seqs map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seqs = map[string]int64{}
	for _, account := range modelAccounts {
		_, isForked := l.forked[account]
		newest := int64(len(l.events[account]))
		switch {
		case isForked || l.snapshots[account].Seq < newest:
			// A subscription that is opened later begins with the older snapshot.
		case fromLedger:
			seqs[account] = newest
		default:
			seqs[account] = l.snapshots[account].Seq
		}
	}
	return l.setbacks, seqs
}

// runActions runs the actions and checks the frames of all clients.
func (m *model) runActions(actions []action) error {
	for i := range m.nodes {
		m.nodes[i] = m.startNode()
	}
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
	m.nodes[i] = m.startNode()
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
	err = checker.checkComplete(func(sub, account string) int64 {
		return m.nodes[c.node].known(account, k.requests[sub].order)
	})
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
