package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/fetch"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A Hub delivers events to the subscriptions of this gateway's clients. Create it with NewHub, keep
// Run running, call Deliver with the events, and serve Handler and Events.
type Hub struct {
	cfg       Config
	fetcher   *fetch.Fetcher
	metrics   *metrics.Metrics
	clients   *registry
	tasks     *tasks
	server    *netconn.Server
	accept    *rate.Limiter
	closeLog  *closeLogger
	validator *request.Validator

	// baseCtx is the context of work for clients. It ends when all connections are closed, or when
	// the hub stops waiting for them.
	baseCtx    context.Context
	cancelBase context.CancelFunc

	shards [shardCount]shard

	allAccountsMu sync.Mutex                      // held while changing allAccounts
	allAccounts   atomic.Pointer[[]*subscription] // the ["*"] subscriptions; the slice is immutable
}

// NewHub returns a hub. It starts no goroutines: Run does. snapshots or history may be nil. If both
// are nil, no account can be subscribed to.
func NewHub(cfg Config, snapshots Snapshots, history History) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg:      cfg,
		metrics:  metrics.New(cfg.Registerer, cfg.Tracer != nil),
		clients:  newRegistry(cfg.MaxConnections, cfg.MaxConnectionsPerAccount),
		tasks:    newTasks(cfg.Logger),
		accept:   rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate),
		closeLog: newCloseLogger(cfg.Logger),
		fetcher: fetch.New(snapshots, history, fetch.Limits{
			Timeout:   cfg.FetchTimeout,
			Calls:     cfg.Fetches,
			MaxEvents: cfg.MaxReplay + 1, // and the event before them
		}),
	}

	h.validator = &request.Validator{
		MaxAccounts:     cfg.MaxAccounts,
		MaxFilterValues: cfg.MaxFilterValues,
		Metrics:         h.metrics,
	}

	h.server = netconn.NewServer(netconn.Config{
		Subprotocol:     Subprotocol,
		MaxMessageBytes: cfg.MaxFrameBytes,
		MessageTimeout:  cfg.MessageTimeout,
		WriteTimeout:    cfg.WriteTimeout,
		Compression:     cfg.Compression,
		Writers:         cfg.Writers,
		Go:              h.tasks.startTask,
		HandedOver:      h.metrics.HandedOver.Inc,
	})

	h.baseCtx, h.cancelBase = context.WithCancel(context.Background())
	h.allAccounts.Store(&[]*subscription{})
	for i := range h.shards {
		h.shards[i].topics = map[string]*topic{}
		h.shards[i].memory.MaxEvents = max(1, cfg.MemoryEvents/shardCount)
		h.shards[i].memory.MaxBytes = max(1, cfg.MemoryBytes/shardCount)
	}

	return h
}

// Run writes to the clients and handles their deadlines until ctx is done. It then closes all
// connections with 1001, unless Close or Drain has closed them, and returns when the last goroutine
// of the hub has ended.
func (h *Hub) Run(ctx context.Context) error {
	// The loops must outlive ctx, to write the queued frames.
	loopCtx, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()
	var g errgroup.Group
	g.Go(func() error { return h.server.Run(loopCtx) })
	g.Go(func() error { return h.runClock(loopCtx) })
	<-ctx.Done()

	closeCtx, cancel := context.WithTimeout(loopCtx, h.cfg.CloseTimeout)
	h.Close(closeCtx)
	cancel()
	h.cancelBase()
	h.tasks.stopAndWait()
	stopLoops()

	return g.Wait()
}

// runClock handles the deadlines of all clients until ctx is done.
func (h *Hub) runClock(ctx context.Context) error {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	var due []*session
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			due = h.clients.appendDue(due[:0], now.UnixNano())
			for _, s := range due {
				s.handleTick(now)
			}

			clear(due)
			h.closeLog.logSkipped()
		}
	}
}

// Close admits no more clients, closes all connections with 1001 and waits until they are closed.
// If ctx ends before that, Close closes the remaining connections without a handshake.
func (h *Hub) Close(ctx context.Context) {
	h.clients.stopAdmission()
	for _, s := range h.clients.listSessions("") {
		s.transport.closeWith(protocol.CloseGoingAway, "")
	}

	h.awaitEmpty(ctx)
}

// awaitEmpty waits until all connections are closed. If ctx ends before that, it closes the
// remaining connections without a handshake.
func (h *Hub) awaitEmpty(ctx context.Context) {
	select {
	case <-h.clients.empty:
		return
	case <-ctx.Done():
	}

	h.cancelBase() // cancel calls of Snapshots and History
	for _, s := range h.clients.listSessions("") {
		s.transport.closeWith(protocol.CloseAbnormal, "closed without a handshake")
	}

	<-h.clients.empty
}

// Recheck compares every subscribed account with the ledger, or with its snapshot if fromLedger is
// false. It catches up the accounts that are behind, and repairs those whose history changed. Call
// it when the tail may have lost entries: with fromLedger after ForgetMemory, and without after a
// short interruption. Without it, such an account stays behind until its next event. Recheck
// continues after an error and returns the first one.
func (h *Hub) Recheck(ctx context.Context, fromLedger bool) error {
	var g errgroup.Group
	g.SetLimit(max(1, h.cfg.Fetches/2)) // the other calls are for clients that subscribe
	for i := range h.shards {
		for _, t := range h.shards[i].subscribedTopics() {
			g.Go(func() error { return h.recheckTopic(ctx, &h.shards[i], t, fromLedger) })
		}
	}

	return g.Wait()
}

func (h *Hub) recheckTopic(ctx context.Context, s *shard, t *topic, fromLedger bool) error {
	s.mu.Lock()
	generation := t.generation
	inStream := t.run.Newest()
	s.mu.Unlock()

	fetchState := h.fetcher.FetchLedgerState
	if !fromLedger {
		fetchState = func(ctx context.Context, account string) (fetch.State, error) {
			return h.fetcher.FetchState(ctx, account, 0)
		}
	}

	b, err := fetchState(ctx, t.account)
	if err != nil {
		return fmt.Errorf("recheck account: %w", err)
	}

	var gaps []*feed
	s.mu.Lock()
	if t.generation == generation {
		gaps = h.compareFeeds(s, t, b, inStream)
	}

	s.mu.Unlock()
	h.repairFeeds(gaps)

	return nil
}

// compareFeeds compares the live feeds of a topic with the state. It returns the feeds that must be
// repaired. The caller holds the mutex of the shard.
func (h *Hub) compareFeeds(s *shard, t *topic, b fetch.State, inStream int64) (gaps []*feed) {
	state := statePoint(&b.Balance)
	if b.FromLedger {
		page := ledgerPage{points: []point{state}, last: b.Seq, readBefore: inStream}
		gaps = h.checkMemory(s, t, nil, &page)
	}

	for _, f := range t.feeds {
		switch {
		case f.state != live:
			continue
		case f.last == state:
			f.suspect = f.suspect && !b.FromLedger
			continue
		case f.last.seq < state.seq:
			f.knownSeq = state.seq
		default:
			f.suspect = true
		}

		f.state = catchingUp
		gaps = append(gaps, f)
	}

	return gaps
}

// addAllAccounts adds a ["*"] subscription. It replaces the slice, because Deliver reads it without
// a lock.
func (h *Hub) addAllAccounts(sub *subscription) {
	h.allAccountsMu.Lock()
	defer h.allAccountsMu.Unlock()

	list := append(slices.Clone(*h.allAccounts.Load()), sub)
	h.allAccounts.Store(&list)
}

// removeAllAccounts removes a ["*"] subscription. It replaces the slice too.
func (h *Hub) removeAllAccounts(sub *subscription) {
	h.allAccountsMu.Lock()
	defer h.allAccountsMu.Unlock()

	list := slices.Clone(*h.allAccounts.Load())
	i := slices.Index(list, sub)
	if i >= 0 {
		list = slices.Delete(list, i, i+1)
	}

	h.allAccounts.Store(&list)
}

// newID returns a random connection id.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails

	return hex.EncodeToString(b[:])
}
