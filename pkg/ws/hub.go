package ws

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Hub carries deliveries to the subscriptions of this gateway's clients. Make
// one with NewHub, keep Run running, feed it with Deliver, serve its Handler.
type Hub struct {
	cfg       Config
	snapshots Snapshots
	history   History
	metrics   *metrics
	clients   *registry
	tasks     *tasks
	accept    *rate.Limiter
	closeLog  *closeLogger
	flights   singleflight.Group
	fetches   chan struct{} // one place for each call of History under way
	loops     []*writeLoop
	deflate   *deflaters // nil: compression is off
	nextLoop  atomic.Uint32

	// base ends when all connections have been closed or cut off, for good, and with it
	// what clients have caused and nobody waits for any more.
	base   context.Context
	cancel context.CancelFunc

	shards [shards]shard

	allAccountsMu sync.Mutex                      // held to change allAccounts
	allAccounts   atomic.Pointer[[]*subscription] // the ["*"] subscriptions; the slice is never changed
}

// NewHub makes a hub. It starts nothing: Run does. snapshots or history may be nil
// when there is none; without both, no account can be subscribed to.
func NewHub(cfg Config, snapshots Snapshots, history History) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg: cfg, snapshots: snapshots, history: history,
		metrics:  newMetrics(cfg.Registerer),
		clients:  newRegistry(cfg.MaxConnections, cfg.MaxConnectionsPerAccount),
		tasks:    newTasks(cfg.Logger),
		accept:   rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate),
		closeLog: newCloseLogger(cfg.Logger),
		fetches:  make(chan struct{}, cfg.Fetches),
	}
	h.metrics.traced = cfg.Tracer != nil
	h.base, h.cancel = context.WithCancel(context.Background())
	h.allAccounts.Store(&[]*subscription{})
	for i := range h.shards {
		h.shards[i].topics = map[string]*topic{}
		h.shards[i].memory.maxEvents = max(1, cfg.MemoryEvents/shards)
		h.shards[i].memory.maxBytes = max(1, cfg.MemoryBytes/shards)
	}
	if cfg.Compression {
		h.deflate = newDeflaters(cfg.Writers)
	}
	for range cfg.Writers {
		h.loops = append(h.loops, newWriteLoop())
	}
	return h
}

// Run writes to the clients and minds their time until ctx ends. Then it closes
// all connections with 1001, unless Close or Drain did before, and returns when
// the last goroutine of the hub has ended.
func (h *Hub) Run(ctx context.Context) error {
	// The loops outlive ctx: what is queued when it ends still has to leave.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	for _, l := range h.loops {
		g.Go(func() error { return l.run(working) })
	}
	g.Go(func() error { return h.mind(working) })
	<-ctx.Done()
	closing, cancel := context.WithTimeout(working, h.cfg.CloseTimeout)
	h.Close(closing)
	cancel()
	h.cancel()
	h.tasks.stop()
	stop()
	return g.Wait()
}

// mind does for each client what is due, until ctx ends.
func (h *Hub) mind(ctx context.Context) error {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	var due []*session
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			due = h.clients.due(now.UnixNano(), due[:0])
			for _, s := range due {
				s.tick(now)
			}
			clear(due)
			h.closeLog.logSkipped()
		}
	}
}

// Close lets no client in any more, closes all connections with 1001 and waits
// until they are gone. When ctx ends first, the rest is cut off.
func (h *Hub) Close(ctx context.Context) {
	h.clients.close()
	for _, s := range h.clients.list("") {
		s.transport.closeWith(protocol.CloseGoingAway, "")
	}
	h.await(ctx)
}

// await waits for the clients to be gone; what is left when ctx ends is cut off.
func (h *Hub) await(ctx context.Context) {
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

// Recheck compares every subscribed account with its snapshot and brings those up
// to date that lag. Call it when the tail may have lost entries, as after a trim or
// a failover: an account whose next event is far away would otherwise stay behind
// until then. An account that nobody can tell about is an error, and does not keep
// the others from it.
func (h *Hub) Recheck(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(h.cfg.Fetches)
	for i := range h.shards {
		for _, t := range h.shards[i].subscribed() {
			g.Go(func() error { return h.recheck(ctx, &h.shards[i], t) })
		}
	}
	return g.Wait()
}

func (h *Hub) recheck(ctx context.Context, s *shard, t *topic) error {
	b, err := h.state(ctx, t.account, 0)
	if err != nil {
		return fmt.Errorf("recheck: %w", err)
	}
	var gaps []*feed
	s.mu.Lock()
	for _, f := range t.feeds {
		if f.state == live && f.next <= b.Seq {
			f.state, f.want = catchingUp, b.Seq
			gaps = append(gaps, f)
		}
	}
	s.mu.Unlock()
	for _, f := range gaps {
		h.metrics.gaps.Inc()
		f.sub.session.startRepair(f)
	}
	return nil
}

// subscribed lists the topics that have feeds.
func (s *shard) subscribed() []*topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*topic
	for _, t := range s.topics {
		if len(t.feeds) > 0 {
			list = append(list, t)
		}
	}
	return list
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
