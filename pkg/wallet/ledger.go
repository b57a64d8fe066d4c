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

// Config holds the ledger's settings. All of them are optional.
type Config struct {
	MaxQueue     int           // operations that may wait for a commit. Defaults to 8192.
	MaxBatch     int           // operations in one commit. Defaults to 1024, the maximum.
	MaxConns     int           // connections to Postgres for commits, the relay and housekeeping. Defaults to 8.
	MaxReadConns int           // further database connections, for the queries of callers. Defaults to 8.
	KeyRetention time.Duration // time that idempotency keys are kept. Defaults to 24 h, the minimum.

	// CommitTimeout limits a commit of many operations with all of its retries. Afterwards the
	// callers get ErrUnavailable. Defaults to 10 s.
	CommitTimeout time.Duration

	// Clock is the time of new transactions, to write a history into a new ledger. It must not go back.
	// Defaults to time.Now.
	Clock func() time.Time

	// OnlyRead allows a standby and a read-only server. Run must not be called then. By default the
	// ledger uses only a primary that can be written.
	OnlyRead bool

	// Committed is called after each commit with the committed events. It is called from several
	// goroutines and must not block. The commits of one account arrive in order, except that a
	// settlement may overtake another operation of its user. In the core it is the relay's Offer
	// method. Defaults to none.
	Committed func([]bus.OutboxRow)

	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to none; then there are no metrics.
}

// DefaultReadConns is the default of Config.MaxReadConns.
const DefaultReadConns = 8

// maxBatch is the largest number of transactions that the ids of one outbox row can number.
const maxBatch = 1 << outboxPlaceBits

func (c Config) withDefaults() Config {
	if c.MaxQueue <= 0 {
		c.MaxQueue = 8192
	}

	if c.MaxBatch <= 0 || c.MaxBatch > maxBatch {
		c.MaxBatch = maxBatch
	}

	if c.MaxConns <= 0 {
		c.MaxConns = 8
	}

	if c.MaxReadConns <= 0 {
		c.MaxReadConns = DefaultReadConns
	}

	c.KeyRetention = max(c.KeyRetention, 24*time.Hour)
	if c.CommitTimeout <= 0 {
		c.CommitTimeout = 10 * time.Second
	}

	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	return c
}

// Ledger commits operations in groups and answers queries about committed operations.
type Ledger struct {
	store   store
	reads   *sqlStore // the queries of callers; they never wait for a commit's connection
	cfg     Config
	queue   chan *request
	calls   atomic.Uint64 // the newest callID
	metrics *metrics
	running runningBatches
	writes  *writeHealth

	maxEntryScan  int64 // the constant maxEntryScan; smaller in tests
	maxEscrowScan int   // the constant maxEscrowScan; smaller in tests

	mu      sync.RWMutex // read-locked to enqueue a request, locked to set stopped
	stopped bool         // no scheduler reads the queue any more
}

// Open connects to the database at the URL (postgres://… or sqlite:PATH). It returns ErrNotMigrated
// if the schema is not current, and ErrNoFile if the SQLite file does not exist.
func Open(ctx context.Context, url string, cfg Config) (*Ledger, error) {
	migrations, err := Migrations(ctx, url)
	if err != nil {
		return nil, err
	}

	for _, m := range migrations {
		if m.AppliedAt.IsZero() {
			return nil, fmt.Errorf("%w: migration %s was not applied", ErrNotMigrated, m.Name)
		}
	}

	cfg = cfg.withDefaults()
	s, err := openStore(ctx, url, cfg)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}

	return newLedger(s, cfg), nil
}

func openStore(ctx context.Context, url string, cfg Config) (store, error) {
	driver, dsn, err := splitURL(url)
	if err != nil {
		return nil, err
	}

	if driver == driverSQLite {
		return openSQLite(ctx, dsn, cfg.MaxReadConns)
	}

	return openPostgres(ctx, dsn, cfg)
}

func newLedger(s store, cfg Config) *Ledger {
	l := &Ledger{
		store:         s,
		reads:         s.readQueries(),
		cfg:           cfg,
		queue:         make(chan *request, cfg.MaxQueue),
		writes:        newWriteHealth(cfg.Logger),
		maxEntryScan:  maxEntryScan,
		maxEscrowScan: maxEscrowScan,
	}

	queueLength := func() float64 { return float64(len(l.queue)) }
	longestCommit := func() float64 { return l.running.longest().Seconds() }
	l.metrics = newMetrics(cfg.Registerer, queueLength, longestCommit)
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(newPoolMetrics(s))
	}

	return l
}

// Run commits the operations that Do enqueues until ctx ends. Then it commits the operations that
// are still queued, and returns nil. While it runs it also refunds expired escrows and removes old
// idempotency keys.
func (l *Ledger) Run(ctx context.Context) error {
	housekeepingDone := make(chan struct{})
	go func() {
		defer close(housekeepingDone)
		l.runHousekeeping(ctx)
	}()

	l.store.durability().enable()
	s := newScheduler(l)
	s.run(ctx)
	<-housekeepingDone

	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()

	// A request may have been enqueued after the scheduler ended and before stopped was set.
	s.run(ctx)
	return nil
}

// Close closes the database. It must be called after Run has returned.
func (l *Ledger) Close() error { return l.store.close() }

// Generation returns a number, at least 1, that grows when the ledger's new connections reach
// another database than the earlier ones: after a restart of the server, a failover, or when a
// backup was restored. The other database may lack transactions that were committed and announced
// before, and have other ones with the same seqs. On SQLite the number does not grow.
func (l *Ledger) Generation() uint64 { return l.store.generation() }

// Do commits one operation and returns its receipt. The errors are those of this package.
//
// If Do returns ErrUnavailable or the error of ctx, the operation may have been done. A retry with
// the same idempotency key returns its result. If the queue is full, Do returns ErrOverloaded at
// once and does nothing.
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

// Result is the result of one operation of DoBatch: a receipt or an error.
type Result struct {
	Receipt Receipt
	Err     error // the error that Do would return
}

// DoBatch commits several operations. Each of them succeeds or fails alone. The operations of one
// account are done in order. The operations share commits where possible. If the queue has no room
// for an operation, its error is ErrOverloaded and it is not done.
func (l *Ledger) DoBatch(ctx context.Context, ops []Op) []Result {
	results := make([]Result, len(ops))
	requests := make([]*request, len(ops))
	call := callID(l.calls.Add(1))
	for i := range ops {
		r, err := l.enqueueOp(ctx, &ops[i], call)
		requests[i] = r
		results[i].Err = err
	}

	for i, r := range requests {
		if r == nil {
			continue
		}

		receipt, err := r.awaitResult()
		results[i] = Result{
			Receipt: receipt,
			Err:     err,
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

// enqueueRequest puts a request into the queue without waiting.
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
