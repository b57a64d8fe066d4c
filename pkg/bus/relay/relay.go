package relay

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// Config is the relay's optional settings.
type Config struct {
	// MaxQueue bounds the transactions that wait in memory to be published. What
	// does not fit stays in the outbox for the sweep (relay_deferred_total).
	// Defaults to 65,536.
	MaxQueue int
	// MaxQueueBytes bounds their payloads, in the same way. Defaults to 128 MiB.
	MaxQueueBytes int
	// MaxBatch bounds the transactions in one publish: enough that a call's cost is
	// shared, few enough that dev mode's Redis has them in a fraction of a second.
	// Defaults to 256.
	MaxBatch int
	// Page is how many outbox rows the sweep reads at once. Defaults to 256.
	Page int
	// Sweep is how often the outbox is looked through for rows that were left over.
	// Defaults to 1 s.
	Sweep time.Duration
	// MinAge is how old a row must be for a sweep that no trouble caused, so that it does
	// not repeat what is being published. Defaults to 1 s.
	MinAge time.Duration
	// Check is how often the outbox is counted, the server's identity looked at, and
	// written to Redis until when all is published.
	// Defaults to 5 s.
	Check time.Duration
	// Quiet is how far back accounts are compared with their hashes after Redis was
	// away or changed: from so long before the last time at which all was published, as Redis
	// itself remembers it. Defaults to 15 min.
	Quiet time.Duration
	// MaxBackoff bounds the pause between attempts while Redis or the source is
	// away. Defaults to 2 s.
	MaxBackoff time.Duration
	// Drain is how long Run publishes what is queued after its ctx ended. Defaults to 1 s.
	Drain      time.Duration
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
	// Tracer gets a span of each published transaction of a sampled trace. Defaults
	// to none.
	Tracer trace.Tracer
}

// Relay publishes what a Source committed. Any number of relays may run on one
// source: the script on Redis keeps order and drops repeats.
//
// There are two ways to Redis. The fast one publishes what is offered, a batch at
// a time, while the next one gathers. The sweep goes through the outbox for
// whatever the fast one left: rows of a process that died, rows that did not fit,
// rows that Redis refused because it lacks what comes before them. Only the sweep
// heals. Both may publish the same row; Redis takes it once.
type Relay struct {
	src     Source
	pub     *publish.Publisher
	rdb     redis.UniversalClient // the publisher's
	keys    bus.Keys              // the publisher's
	cfg     Config
	metrics relayMetrics

	mu     sync.Mutex       // protects what follows
	queue  []bus.OutboxRow  // offered and not yet taken
	weight int              // of the queue, in bytes
	acks   []int64          // rows to be deleted from the outbox
	away   map[int]bool     // partitions that gave no answer; left to the sweep until they do
	ahead  map[string]int64 // accounts that Redis may have more events of than the ledger, and how many it has

	queued chan struct{} // holds a token when queue is not empty
	acked  chan struct{} // holds a token when acks is not empty
	urgent chan struct{} // holds a token when a sweep should not wait for its tick

	// down: Redis failed and has not answered since. Offers are left to the sweep
	// that begins after it has answered.
	down     atomic.Bool
	complain rate.Sometimes
}

// New returns a relay from src to pub. It does nothing until Run.
func New(src Source, pub *publish.Publisher, cfg Config) *Relay {
	cfg.MaxQueue = cmp.Or(cfg.MaxQueue, 65_536)
	cfg.MaxQueueBytes = cmp.Or(cfg.MaxQueueBytes, 128<<20)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 256)
	cfg.Page = cmp.Or(cfg.Page, 256)
	cfg.Sweep = cmp.Or(cfg.Sweep, time.Second)
	cfg.MinAge = cmp.Or(cfg.MinAge, time.Second)
	cfg.Check = cmp.Or(cfg.Check, 5*time.Second)
	cfg.Quiet = cmp.Or(cfg.Quiet, 15*time.Minute)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, 2*time.Second)
	cfg.Drain = cmp.Or(cfg.Drain, time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Relay{
		src:      src,
		pub:      pub,
		rdb:      pub.Client(),
		keys:     pub.Keys(),
		cfg:      cfg,
		metrics:  newRelayMetrics(cfg.Registerer),
		queued:   make(chan struct{}, 1),
		acked:    make(chan struct{}, 1),
		urgent:   make(chan struct{}, 1),
		complain: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// Offer hands over transactions right after their commit, so that they are
// published without waiting for a sweep. It never blocks. The relay keeps what
// the rows point to; the caller must not change it afterwards. Offers of one
// account must come in order of seq.
//
// What does not fit in the queue, and what comes while Redis is away, is
// published by the sweep: the rows are in the outbox.
func (r *Relay) Offer(rows []bus.OutboxRow) {
	if r.down.Load() {
		r.metrics.deferred.Add(float64(len(rows)))
		return
	}
	r.mu.Lock()
	fit := rows[:0]
	for len(fit) < len(rows) && len(r.queue)+len(fit) < r.cfg.MaxQueue && r.weight < r.cfg.MaxQueueBytes {
		r.weight += weight(&rows[len(fit)])
		fit = rows[:len(fit)+1]
	}
	r.queue = append(r.queue, fit...)
	r.mu.Unlock()
	signal(r.queued)
	if left := len(rows) - len(fit); left > 0 {
		r.metrics.deferred.Add(float64(left))
		signal(r.urgent)
	}
}

// weight is a row's payload, in bytes.
func weight(p *bus.OutboxRow) (bytes int) {
	for i := range p.Updates {
		size, _ := p.Updates[i].PayloadSize()
		bytes += size
	}
	return bytes
}

// Run publishes until ctx ends, then what is queued, within Config.Drain.
// It returns nil; whatever fails is tried again.
func (r *Relay) Run(ctx context.Context) error {
	// What is under way when ctx ends may still end well.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(r.cfg.Drain, cancel) })()

	var publishers, acknowledger errgroup.Group
	publishers.Go(func() error { r.publishOffers(ctx, working); return nil })
	publishers.Go(func() error { r.keepSweeping(ctx); return nil })
	publishers.Go(func() error { r.watchBacklog(ctx); return nil })
	finished := make(chan struct{})
	acknowledger.Go(func() error { r.runAcknowledge(working, finished); return nil })
	_ = publishers.Wait()
	close(finished)
	return acknowledger.Wait()
}

// signal leaves a token unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
