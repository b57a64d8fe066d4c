package wallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
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
	Committed  func([]bus.Pending)
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

var _ bus.Source = (*Ledger)(nil)

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

// Balance returns the account's state, or ErrAccountNotFound.
func (l *Ledger) Balance(ctx context.Context, a Account) (Balance, error) {
	w, err := l.store.wallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}
	return w.balance(), nil
}

// maxWalk is how many seq of an account one page looks through for entries with a reason.
const maxWalk = 100_000

// Entries lists the account's entries, newest first, and the cursor of the next
// page (empty: no more). Commits in between change neither order nor cursor. A page
// of entries with a rare reason may hold fewer than the limit, or none, and have a
// next one, since it looks through a bounded part of the history (maxWalk).
func (l *Ledger) Entries(ctx context.Context, a Account, f EntryFilter, p Page) ([]Entry, string, error) {
	before := int64(math.MaxInt64)
	if p.Before != "" {
		n, err := strconv.ParseInt(p.Before, 10, 64)
		if err != nil || n < 1 {
			return nil, "", invalid("/before", "a cursor is what an earlier page returned as next")
		}
		before = n
	}
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	w, err := l.store.wallet(ctx, a)
	if err != nil {
		return nil, "", l.queryError("entries", err)
	}
	after, to, err := l.seqBounds(ctx, w, f)
	if err != nil {
		return nil, "", l.queryError("entries", err)
	}
	before = min(before, to)
	end := after
	if f.Reason != "" {
		end = max(after, min(before-1, w.Seq)-l.walk)
	}
	entries, err := l.store.entries(ctx, a, f.Reason, end, before, limit+1)
	switch {
	case err != nil:
		return nil, "", l.queryError("entries", err)
	case len(entries) > limit:
		entries = entries[:limit]
		return entries, strconv.FormatInt(entries[limit-1].Seq, 10), nil
	case end > after:
		return entries, strconv.FormatInt(end+1, 10), nil
	}
	return entries, "", nil
}

// Events lists the account's events with seq greater than after, oldest first,
// at most limit (1 to 1000; 0: 100), and the account's newest seq.
func (l *Ledger) Events(ctx context.Context, a Account, after int64, limit int) ([]AccountEvent, int64, error) {
	limit, err := Page{Limit: limit}.limit()
	if err != nil {
		return nil, 0, err
	}
	if after < 0 {
		return nil, 0, invalid("/after", "a seq is 0 or more")
	}
	w, err := l.store.wallet(ctx, a)
	if err != nil {
		return nil, 0, l.queryError("events", err)
	}
	txs, err := l.store.transactionsAfter(ctx, a, after, limit)
	if err != nil {
		return nil, 0, l.queryError("events", err)
	}
	events, last := make([]AccountEvent, 0, limit), w.Seq
	for i := range txs {
		for _, g := range groups(&txs[i]) {
			if g.Account != string(a) {
				continue
			}
			for j := range g.Deliveries {
				if d := &g.Deliveries[j]; d.Seq > after && len(events) < limit {
					events = append(events, AccountEvent{Account: a, Seq: d.Seq, Event: d.ForAccount()})
					last = max(last, d.Seq)
				}
			}
		}
	}
	return events, last, nil
}

// Escrow returns one escrow, or ErrEscrowNotFound.
func (l *Ledger) Escrow(ctx context.Context, id uuid.UUID) (Escrow, error) {
	e, err := l.store.escrow(ctx, id)
	if err != nil {
		return Escrow{}, l.queryError("escrow", err)
	}
	return *e, nil
}

// maxSearch is how many escrows of a user one page looks through for those with a status.
const maxSearch = 20_000

// Escrows lists a user's escrows, newest first, and the cursor of the next page; an
// empty status means all. A page of escrows with a status may hold fewer than the
// limit, or none, and have a next one, since it looks through so many (maxSearch).
func (l *Ledger) Escrows(ctx context.Context, user Account, status EscrowStatus, p Page) ([]Escrow, string, error) {
	before := uuid.Max
	if p.Before != "" {
		id, err := uuid.Parse(p.Before)
		if err != nil {
			return nil, "", invalid("/before", "a cursor is what an earlier page returned as next")
		}
		before = id
	}
	limit, err := p.limit()
	if err != nil {
		return nil, "", err
	}
	switch status {
	case "", StatusHeld, StatusSettled, StatusRefunded, StatusPartiallySettled:
	default:
		return nil, "", invalid("/status", "a status is held, settled, refunded or partially_settled")
	}
	if _, err := l.store.wallet(ctx, user); err != nil {
		return nil, "", l.queryError("escrows", err)
	}
	look := limit + 1
	if status != "" {
		look = l.search
	}
	escrows, last, err := l.store.escrows(ctx, user, status, before, look, limit+1)
	switch {
	case err != nil:
		return nil, "", l.queryError("escrows", err)
	case len(escrows) > limit:
		escrows = escrows[:limit]
		return escrows, escrows[limit-1].ID.String(), nil
	case last != uuid.Nil:
		return escrows, last.String(), nil
	}
	return escrows, "", nil
}

// Transaction returns one transaction with its entries, or ErrTransactionNotFound.
func (l *Ledger) Transaction(ctx context.Context, id uuid.UUID) (Transaction, error) {
	tx, err := l.store.transaction(ctx, id)
	if err != nil {
		return Transaction{}, l.queryError("transaction", err)
	}
	if tx.Entries, err = l.store.transactionEntries(ctx, tx); err != nil {
		return Transaction{}, l.queryError("transaction", err)
	}
	return *tx, nil
}

// queryError tells a database that is away from a bug.
func (l *Ledger) queryError(what string, err error) error {
	if retryable(err) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return 100, nil
	case p.Limit < 1 || p.Limit > 1000:
		return 0, invalid("/limit", "a limit is 1 to 1000")
	}
	return p.Limit, nil
}
