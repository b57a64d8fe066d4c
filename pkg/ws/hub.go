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
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Hub carries deliveries to the subscriptions of this gateway's clients. Make one with NewHub,
// keep Run running, feed it with Deliver, serve its Handler.
type Hub struct {
	cfg       Config
	snapshots Snapshots
	history   History
	metrics   *metrics
	clients   *registry
	tasks     *tasks
	server    *netconn.Server
	accept    *rate.Limiter
	closeLog  *closeLogger
	flights   singleflight.Group // fetches of events under way
	fetches   chan struct{}      // one place for each call of History under way

	// base ends when all connections have been closed or cut off, for good. What clients have
	// caused and nobody waits for any more ends with it.
	base   context.Context
	cancel context.CancelFunc

	shards [shards]shard

	allAccountsMu sync.Mutex                      // held to change allAccounts
	allAccounts   atomic.Pointer[[]*subscription] // the ["*"] subscriptions; the slice is never changed
}

// NewHub makes a hub. It starts nothing: Run does. snapshots or history may be nil when there is
// none. Without both, no account can be subscribed to.
func NewHub(cfg Config, snapshots Snapshots, history History) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg:       cfg,
		snapshots: snapshots,
		history:   history,
		metrics:   newMetrics(cfg.Registerer, cfg.Tracer != nil),
		clients:   newRegistry(cfg.MaxConnections, cfg.MaxConnectionsPerAccount),
		tasks:     newTasks(cfg.Logger),
		accept:    rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate),
		closeLog:  newCloseLogger(cfg.Logger),
		fetches:   make(chan struct{}, cfg.Fetches),
	}
	h.server = netconn.NewServer(netconn.Config{
		Subprotocol:     Subprotocol,
		MaxMessageBytes: cfg.MaxFrameBytes,
		MessageTimeout:  cfg.MessageTimeout,
		WriteTimeout:    cfg.WriteTimeout,
		Compression:     cfg.Compression,
		Writers:         cfg.Writers,
		Go:              h.tasks.start,
		HandedOver:      h.metrics.handedOver.Inc,
	})
	h.base, h.cancel = context.WithCancel(context.Background())
	h.allAccounts.Store(&[]*subscription{})
	for i := range h.shards {
		h.shards[i].topics = map[string]*topic{}
		h.shards[i].memory.MaxEvents = max(1, cfg.MemoryEvents/shards)
		h.shards[i].memory.MaxBytes = max(1, cfg.MemoryBytes/shards)
	}
	return h
}

// Run writes to the clients and minds their time until ctx ends. Then it closes all connections
// with 1001, unless Close or Drain did before, and returns when the last goroutine of the hub has
// ended.
func (h *Hub) Run(ctx context.Context) error {
	// The loops outlive ctx: what is queued when it ends still has to leave.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return h.server.Run(working) })
	g.Go(func() error { return h.runClock(working) })
	<-ctx.Done()
	closing, cancel := context.WithTimeout(working, h.cfg.CloseTimeout)
	h.Close(closing)
	cancel()
	h.cancel()
	h.tasks.stop()
	stop()
	return g.Wait()
}

// runClock does for each client what is due, until ctx ends.
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
				s.tick(now)
			}
			clear(due)
			h.closeLog.logSkipped()
		}
	}
}

// Close lets no client in any more, closes all connections with 1001 and waits until they are gone.
// When ctx ends first, the rest is cut off.
func (h *Hub) Close(ctx context.Context) {
	h.clients.close()
	for _, s := range h.clients.list("") {
		s.transport.closeWith(protocol.CloseGoingAway, "")
	}
	h.awaitEmpty(ctx)
}

// awaitEmpty waits until the clients are gone. When ctx ends first, the rest is cut off.
func (h *Hub) awaitEmpty(ctx context.Context) {
	select {
	case <-h.clients.empty:
		return
	case <-ctx.Done():
	}
	h.cancel() // nobody waits for the state of an account any more
	for _, s := range h.clients.list("") {
		s.transport.closeWith(protocol.CloseAbnormal, "cut off")
	}
	<-h.clients.empty
}

// Recheck compares every subscribed account with its snapshot and brings those up to date that lag.
// Call it when the tail may have lost entries, as after a trim or a failover: an account whose next
// event is far away would otherwise stay behind until then. An account that nobody can tell about is
// an error, and does not keep the others from it.
func (h *Hub) Recheck(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(h.cfg.Fetches)
	for i := range h.shards {
		for _, t := range h.shards[i].subscribedTopics() {
			g.Go(func() error { return h.recheckTopic(ctx, &h.shards[i], t) })
		}
	}
	return g.Wait()
}

func (h *Hub) recheckTopic(ctx context.Context, s *shard, t *topic) error {
	b, err := h.fetchState(ctx, t.account, 0)
	if err != nil {
		return fmt.Errorf("recheck: %w", err)
	}
	var gaps []*feed
	s.mu.Lock()
	for _, f := range t.feeds {
		if f.state == live && f.next <= b.Seq {
			f.state = catchingUp
			f.known = b.Seq
			gaps = append(gaps, f)
		}
	}
	s.mu.Unlock()
	h.repairFeeds(gaps)
	return nil
}

// addAllAccounts and removeAllAccounts replace the list, which Deliver reads without a lock.
func (h *Hub) addAllAccounts(sub *subscription) {
	h.allAccountsMu.Lock()
	defer h.allAccountsMu.Unlock()
	list := append(slices.Clone(*h.allAccounts.Load()), sub)
	h.allAccounts.Store(&list)
}

func (h *Hub) removeAllAccounts(sub *subscription) {
	h.allAccountsMu.Lock()
	defer h.allAccountsMu.Unlock()
	list := slices.Clone(*h.allAccounts.Load())
	if i := slices.Index(list, sub); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	h.allAccounts.Store(&list)
}

// newID makes the id of a connection.
func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
