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
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// Config is the relay's optional settings.
type Config struct {
	// MaxQueue bounds the transactions that wait in memory to be published. The others stay in the
	// outbox for the sweep (realtime_relay_deferred_total). Defaults to 65,536.
	MaxQueue int
	// MaxQueueBytes bounds the payloads of these transactions in the same way. Defaults to 128 MiB.
	MaxQueueBytes int
	// MaxBatch bounds the transactions in one publish. Many transactions share the cost of a call,
	// but the Redis of dev mode must process them in a fraction of a second. Defaults to 256.
	MaxBatch int
	// Page is how many outbox rows the sweep reads at once. Defaults to 256.
	Page int
	// Sweep is the interval at which the outbox is searched for remaining rows. Defaults to 1 s.
	Sweep time.Duration
	// MinAge is how old a row must be for a regular sweep, so that the sweep does not repeat rows
	// that are being published. A sweep after a failure ignores it. Defaults to 1 s.
	MinAge time.Duration
	// Check is the interval at which the relay counts the outbox, checks the server's run id and
	// moves the watermarks. Defaults to 5 s.
	Check time.Duration
	// Quiet is how far before the watermark a comparison of accounts with their balance hashes
	// starts. The relay compares after Redis was unavailable or was replaced. Defaults to 15 min.
	Quiet time.Duration
	// MaxBackoff bounds the pause between attempts while Redis or the source is unavailable.
	// Defaults to 1 s.
	MaxBackoff time.Duration
	// Drain is how long Run publishes queued rows after its ctx ended. Defaults to 1 s.
	Drain      time.Duration
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
	// Tracer gets a span for each published transaction of a sampled trace. Defaults to none.
	Tracer trace.Tracer
}

// A Relay publishes the transactions that a Source committed. Any number of relays may run on one
// source: the script in Redis keeps the order and drops repeats.
//
// Offered transactions are published at once, a batch at a time. A sweep publishes the remaining
// rows of the outbox. See the package documentation.
type Relay struct {
	src     Source
	pub     *publish.Publisher
	rdb     redis.UniversalClient // the publisher's
	keys    bus.Keys              // the publisher's
	cfg     Config
	metrics relayMetrics

	publishing sync.Mutex // held while offered rows are published
	deleting   sync.Mutex // held while rows are deleted from the outbox

	mu             sync.Mutex           // protects the fields up to suspects; locked after publishing and deleting
	queue          []bus.OutboxRow      // offered rows that are not in a batch yet
	queueBytes     int                  // payload of the queue
	acks           []int64              // rows to be deleted from the outbox
	unavailable    map[int]bool         // partitions that do not answer; they are left to the sweep
	failing        map[int]bool         // partitions whose last write failed
	isOutageLogged bool                 // an outage was logged, and its end was not
	suspects       map[string]bus.Chain // accounts to be compared with the ledger; see suspectFork

	ledger  atomic.Uint64                   // generation of the source that the rows in memory belong to
	history atomic.Pointer[historyProgress] // of a required full comparison; nil: none is required

	queueReady chan struct{} // holds a token when queue is not empty
	acksReady  chan struct{} // holds a token when acks is not empty
	sweepNow   chan struct{} // holds a token when a sweep should not wait for its tick

	redisDown atomic.Bool // Redis failed and has not answered since; offers are left to the sweep
	logLimit  rate.Sometimes
	forkLog   rate.Sometimes // of forks, since there may be thousands
}

// New returns a relay that publishes the rows of src with pub. It does nothing until Run.
func New(src Source, pub *publish.Publisher, cfg Config) *Relay {
	cfg.MaxQueue = cmp.Or(cfg.MaxQueue, 65_536)
	cfg.MaxQueueBytes = cmp.Or(cfg.MaxQueueBytes, 128<<20)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 256)
	cfg.Page = cmp.Or(cfg.Page, 256)
	cfg.Sweep = cmp.Or(cfg.Sweep, time.Second)
	cfg.MinAge = cmp.Or(cfg.MinAge, time.Second)
	cfg.Check = cmp.Or(cfg.Check, 5*time.Second)
	cfg.Quiet = cmp.Or(cfg.Quiet, 15*time.Minute)
	cfg.MaxBackoff = cmp.Or(cfg.MaxBackoff, time.Second)
	cfg.Drain = cmp.Or(cfg.Drain, time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())

	r := &Relay{
		src:        src,
		pub:        pub,
		rdb:        pub.Client(),
		keys:       pub.Keys(),
		cfg:        cfg,
		metrics:    newRelayMetrics(cfg.Registerer),
		failing:    map[int]bool{},
		queueReady: make(chan struct{}, 1),
		acksReady:  make(chan struct{}, 1),
		sweepNow:   make(chan struct{}, 1),
		logLimit:   rate.Sometimes{First: 1, Interval: 10 * time.Second},
		forkLog:    rate.Sometimes{First: 100, Interval: time.Second},
	}

	r.metrics.partitionsWritable.Set(float64(r.keys.Partitions))
	r.ledger.Store(src.Generation())
	return r
}

// Offer queues transactions right after their commit, so that they are published without waiting
// for a sweep. It never blocks. The relay keeps the data that the rows point to, so the caller must
// not change it afterwards. Offers of one account must come in the order of seq.
//
// The sweep publishes the rows that do not fit into the queue, and those offered while Redis is
// unavailable or after the ledger's database was replaced.
func (r *Relay) Offer(rows []bus.OutboxRow) {
	if r.redisDown.Load() {
		r.metrics.deferred.Add(float64(len(rows)))
		return
	}

	r.mu.Lock()
	accepted := 0
	isReplaced := r.isLedgerReplaced()
	for accepted < len(rows) && !isReplaced && !r.isFormer(&rows[accepted]) && r.hasRoom(accepted) {
		r.queueBytes += payloadBytes(&rows[accepted])
		accepted++
	}

	r.queue = append(r.queue, rows[:accepted]...)
	r.mu.Unlock()

	sendToken(r.queueReady)
	if accepted < len(rows) {
		r.metrics.deferred.Add(float64(len(rows) - accepted))
		sendToken(r.sweepNow)
	}
}

// hasRoom reports whether one more row fits into the queue after some accepted ones. r.mu is held.
func (r *Relay) hasRoom(accepted int) bool {
	return len(r.queue)+accepted < r.cfg.MaxQueue && r.queueBytes < r.cfg.MaxQueueBytes
}

// payloadBytes returns the size of a row's payloads in bytes.
func payloadBytes(row *bus.OutboxRow) int {
	total := 0
	for i := range row.Updates {
		size, _ := row.Updates[i].PayloadSize()
		total += size
	}

	return total
}

// Run publishes until ctx ends, and then publishes the queue for at most Config.Drain. It always
// returns nil, since all failures are retried.
func (r *Relay) Run(ctx context.Context) error {
	// Calls that are running when ctx ends may still succeed.
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	stopDrainTimer := context.AfterFunc(ctx, func() {
		time.AfterFunc(r.cfg.Drain, cancel)
	})

	defer stopDrainTimer()

	r.metrics.startLoops()
	var publishers, acknowledger sync.WaitGroup
	publishers.Go(func() { r.publishOffers(ctx, working) })
	publishers.Go(func() { r.keepSweeping(ctx) })
	publishers.Go(func() { r.watchBacklog(ctx) })
	finished := make(chan struct{})
	acknowledger.Go(func() { r.runAcknowledge(working, finished) })

	publishers.Wait()
	close(finished)
	acknowledger.Wait()

	return nil
}

// sendToken puts a token into a channel of capacity 1 unless it holds one.
func sendToken(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
