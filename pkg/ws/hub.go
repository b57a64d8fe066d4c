package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
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
	feeds     *feed.Index
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
}

// NewHub returns a hub. It starts no goroutines: Run does. snapshots or history may be nil. If both
// are nil, no account can be subscribed to.
func NewHub(cfg Config, snapshots Snapshots, history History) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg:      cfg,
		metrics:  metrics.New(cfg.Registerer, cfg.Tracer != nil),
		clients:  newRegistry(&cfg),
		tasks:    newTasks(cfg.Logger),
		accept:   rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate),
		closeLog: newCloseLogger(cfg.Logger),
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
	h.feeds = feed.NewIndex(feed.Config{
		QueueEvents:  cfg.QueueEvents,
		QueueBytes:   cfg.QueueBytes,
		MemoryEvents: cfg.MemoryEvents,
		MemoryBytes:  cfg.MemoryBytes,
		MaxReplay:    cfg.MaxReplay,
		Rechecks:     max(1, cfg.Fetches/2), // the other calls are for clients that subscribe
		WriteTimeout: cfg.WriteTimeout,
		RetryFor:     cfg.RetryFor,
		FetchTimeout: cfg.FetchTimeout,
		CaughtUp:     cfg.CaughtUp,
		Current:      cfg.Current,
		Context:      h.baseCtx,
		Metrics:      h.metrics,
		Logger:       cfg.Logger,
		Tracer:       cfg.Tracer,
		Go:           h.tasks.startTask,
		Fetcher: fetch.New(snapshots, history, fetch.Limits{
			Timeout:   cfg.FetchTimeout,
			Calls:     cfg.Fetches,
			MaxEvents: cfg.MaxReplay + 1, // and the event before them
		}),
	})

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
		s.transport.CloseWith(protocol.CloseGoingAway, "")
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
		s.transport.CloseWith(protocol.CloseAbnormal, "closed without a handshake")
	}

	<-h.clients.empty
}

// newID returns a random connection id.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails

	return hex.EncodeToString(b[:])
}
