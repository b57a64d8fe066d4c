package wallet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config is the ledger's optional settings.
type Config struct {
	MaxQueue     int           // operations that may wait for a commit. Defaults to 8192.
	MaxBatch     int           // operations in one commit. Defaults to 1024, which is the most.
	MaxConns     int           // database connections (Postgres). Defaults to 16.
	KeyRetention time.Duration // how long idempotency keys are kept, at least 24 h. Defaults to 24 h.
	// Committed hears of each commit right after it, from several goroutines; it must
	// not block. An account's commits come in order, save that a settlement may
	// overtake another operation of its user. Usually the relay's Offer.
	Committed  func([]bus.OutboxRow)
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// maxBatch is how many transactions have a place in an outbox row's ids.
const maxBatch = 1 << outboxPlaceBits

func (c Config) withDefaults() Config {
	if c.MaxQueue <= 0 {
		c.MaxQueue = 8192
	}
	if c.MaxBatch <= 0 || c.MaxBatch > maxBatch {
		c.MaxBatch = maxBatch
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 16
	}
	c.KeyRetention = max(c.KeyRetention, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Ledger commits operations in groups and answers questions about what was
// committed.
type Ledger struct {
	store   store
	cfg     Config
	queue   chan *request
	metrics *metrics
	walk    int64 // maxWalk; tests have less
	search  int   // maxSearch; tests have less

	mu      sync.RWMutex // held to put a request into the queue, and to set stopped
	stopped bool         // nobody will look at the queue again
}

// Open connects to the database that the URL names (postgres://… or
// sqlite:PATH) and checks that its schema is current: ErrNotMigrated, ErrNoFile.
func Open(ctx context.Context, url string, cfg Config) (*Ledger, error) {
	states, err := Migrations(ctx, url)
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		if s.AppliedAt.IsZero() {
			return nil, fmt.Errorf("%w: %s is missing", ErrNotMigrated, s.Name)
		}
	}
	cfg = cfg.withDefaults()
	driver, dsn, err := splitURL(url)
	if err != nil {
		return nil, err
	}
	var s store
	if driver == driverSQLite {
		s, err = openSQLite(ctx, dsn)
	} else {
		s, err = openPostgres(ctx, dsn, cfg.MaxConns)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return newLedger(s, cfg), nil
}

func newLedger(s store, cfg Config) *Ledger {
	l := &Ledger{store: s, cfg: cfg, queue: make(chan *request, cfg.MaxQueue), walk: maxWalk, search: maxSearch}
	l.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(len(l.queue)) })
	return l
}

// Run commits what Do asks for until ctx ends, then what is queued. Beside it,
// expired escrows are refunded and old idempotency keys forgotten.
func (l *Ledger) Run(ctx context.Context) error {
	housekeeping := make(chan struct{})
	go func() {
		defer close(housekeeping)
		l.keepHouse(ctx)
	}()
	lanes := newLanes(l)
	lanes.run(ctx)
	<-housekeeping
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	lanes.run(ctx) // what came between the last look at the queue and now
	return nil
}

// Close releases the database. Call it after Run returned.
func (l *Ledger) Close() error { return l.store.close() }

// Ping tells whether the database answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.store.ping(ctx) }

// Do commits one operation and returns its receipt. Errors are those of this
// package; after ErrUnavailable and after a cancelled ctx the operation may or
// may not have been done, and a repeat with the same key tells which. A full
// queue is ErrOverloaded, at once, and nothing was done.
func (l *Ledger) Do(ctx context.Context, op Op) (Receipt, error) {
	r, err := newRequest(ctx, &op)
	if err != nil {
		return Receipt{}, err
	}
	if err := l.enqueue(r); err != nil {
		return Receipt{}, err
	}
	return r.wait()
}

// A Result is the answer to one operation of a batch: a receipt or an error.
type Result struct {
	Receipt Receipt
	Err     error // as Do returns it
}

// DoBatch commits operations that stand or fall one by one, in order for each
// account. They share one trip through group commit, as far as a commit holds
// them. What the queue has no room for is ErrOverloaded and was not done.
func (l *Ledger) DoBatch(ctx context.Context, ops []Op) []Result {
	out := make([]Result, len(ops))
	requests := make([]*request, len(ops))
	for i := range ops {
		r, err := newRequest(ctx, &ops[i])
		if err == nil {
			r.call = &out[0]
			err = l.enqueue(r)
		}
		if out[i].Err = err; err == nil {
			requests[i] = r
		}
	}
	for i, r := range requests {
		if r != nil {
			out[i].Receipt, out[i].Err = r.wait()
		}
	}
	return out
}

func (l *Ledger) enqueue(r *request) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.stopped {
		return fmt.Errorf("%w: the ledger is stopping", ErrUnavailable)
	}
	select {
	case l.queue <- r:
		return nil
	default:
		l.metrics.overloaded.Inc()
		return ErrOverloaded
	}
}
