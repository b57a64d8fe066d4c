package wallet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config has the ledger's optional settings.
type Config struct {
	MaxQueue     int           // operations that may wait for a commit. Defaults to 8192.
	MaxBatch     int           // operations in one commit. Defaults to 1024, which is the most.
	MaxConns     int           // database connections (Postgres). Defaults to 16.
	KeyRetention time.Duration // how long idempotency keys are kept, at least 24 h. Defaults to 24 h.

	// Committed is called after each commit, from several goroutines. It must not block. An
	// account's commits are handed over in order, except that a settlement may overtake another
	// operation of its user. Usually it is the relay's Offer. Defaults to none.
	Committed func([]bus.OutboxRow)

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

// Ledger commits operations in groups and answers queries about what was committed.
type Ledger struct {
	store   store
	cfg     Config
	queue   chan *request
	calls   atomic.Uint64 // the newest callID
	metrics *metrics

	maxEntryScan  int64 // maxEntryScan; tests set less
	maxEscrowScan int   // maxEscrowScan; tests set less

	mu      sync.RWMutex // held to put a request into the queue, and to set stopped
	stopped bool         // no scheduler will look at the queue again
}

// Open connects to the database that the URL names (postgres://… or sqlite:PATH). The error is
// ErrNotMigrated if its schema is not current and ErrNoFile if there is no such SQLite file.
func Open(ctx context.Context, url string, cfg Config) (*Ledger, error) {
	migrations, err := Migrations(ctx, url)
	if err != nil {
		return nil, err
	}

	for _, m := range migrations {
		if m.AppliedAt.IsZero() {
			return nil, fmt.Errorf("%w: %s was not applied", ErrNotMigrated, m.Name)
		}
	}

	cfg = cfg.withDefaults()
	s, err := openStore(ctx, url, cfg.MaxConns)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}

	return newLedger(s, cfg), nil
}

func openStore(ctx context.Context, url string, maxConns int) (store, error) {
	driver, dsn, err := splitURL(url)
	if err != nil {
		return nil, err
	}
	if driver == driverSQLite {
		return openSQLite(ctx, dsn)
	}
	return openPostgres(ctx, dsn, maxConns)
}

func newLedger(s store, cfg Config) *Ledger {
	l := &Ledger{
		store:         s,
		cfg:           cfg,
		queue:         make(chan *request, cfg.MaxQueue),
		maxEntryScan:  maxEntryScan,
		maxEscrowScan: maxEscrowScan,
	}

	l.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(len(l.queue)) })
	return l
}

// Run commits the operations that Do enqueues until ctx ends, then those that are still queued.
// Meanwhile it refunds expired escrows and removes old idempotency keys.
func (l *Ledger) Run(ctx context.Context) error {
	housekeepingDone := make(chan struct{})
	go func() {
		defer close(housekeepingDone)
		l.runHousekeeping(ctx)
	}()

	s := newScheduler(l)
	s.run(ctx)
	<-housekeepingDone
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	s.run(ctx) // commits what was enqueued between the scheduler's last look and stopped
	return nil
}

// Close releases the database. Call it after Run has returned.
func (l *Ledger) Close() error { return l.store.close() }

// Ping returns nil if the database answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.store.ping(ctx) }

// Do commits one operation and returns its receipt. The errors are those of this package. After
// ErrUnavailable, and if ctx ends, the operation may or may not have been done; a retry with the
// same idempotency key returns its result. ErrOverloaded comes at once when the queue is full;
// then nothing was done.
func (l *Ledger) Do(ctx context.Context, op Op) (Receipt, error) {
	r, err := newRequest(ctx, &op)
	if err != nil {
		return Receipt{}, err
	}

	err = l.enqueueRequest(r)
	if err != nil {
		return Receipt{}, err
	}

	return r.awaitResult()
}

// A Result is the answer to one operation of a batch: a receipt or an error.
type Result struct {
	Receipt Receipt
	Err     error // as Do returns it
}

// DoBatch commits operations, each of which succeeds or fails alone. Those of one account are done
// in order. They share commits, as far as a commit has room. An operation for which the queue has
// no room gets ErrOverloaded and is not done.
func (l *Ledger) DoBatch(ctx context.Context, ops []Op) []Result {
	results := make([]Result, len(ops))
	requests := make([]*request, len(ops))
	call := callID(l.calls.Add(1))
	for i := range ops {
		requests[i], results[i].Err = l.enqueueOp(ctx, &ops[i], call)
	}

	for i, r := range requests {
		if r != nil {
			results[i].Receipt, results[i].Err = r.awaitResult()
		}
	}

	return results
}

func (l *Ledger) enqueueOp(ctx context.Context, op *Op, call callID) (*request, error) {
	r, err := newRequest(ctx, op)
	if err != nil {
		return nil, err
	}

	r.callID = call
	err = l.enqueueRequest(r)
	if err != nil {
		return nil, err
	}

	return r, nil
}

func (l *Ledger) enqueueRequest(r *request) error {
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
