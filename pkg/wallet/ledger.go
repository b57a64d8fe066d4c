package wallet

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Config is the ledger's optional settings.
type Config struct {
	MaxQueue     int           // operations that may wait for a commit. Defaults to 8192.
	MaxBatch     int           // operations in one commit. Defaults to 512.
	KeyRetention time.Duration // how long idempotency keys are kept, at least 24 h. Defaults to 24 h.
	// Committed hears of each commit right after it, in order, from one goroutine;
	// it must not block. Usually the relay's Offer.
	Committed  func([]bus.Pending)
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// Ledger commits operations in groups and answers questions about what was
// committed.
type Ledger struct{}

var _ bus.Source = (*Ledger)(nil)

// Open connects to the database that the URL names (postgres://… or
// sqlite:PATH) and checks that its schema is current.
func Open(ctx context.Context, url string, cfg Config) (*Ledger, error) { panic("being written") }

// Run commits what Do asks for until ctx ends, then what is queued.
func (l *Ledger) Run(ctx context.Context) error { panic("being written") }

// Close releases the database. Call it after Run returned.
func (l *Ledger) Close() error { panic("being written") }

// Ping tells whether the database answers.
func (l *Ledger) Ping(ctx context.Context) error { panic("being written") }

// Do commits one operation and returns its receipt. Errors are those of this
// package; after ErrUnavailable and after a cancelled ctx the operation may or
// may not have been done, and a repeat with the same key tells which.
func (l *Ledger) Do(ctx context.Context, op Op) (Receipt, error) { panic("being written") }

// Balance returns the account's state, or ErrAccountNotFound.
func (l *Ledger) Balance(ctx context.Context, a Account) (Balance, error) { panic("being written") }

// Entries lists the account's entries, newest first, and the cursor of the next
// page (empty: no more).
func (l *Ledger) Entries(ctx context.Context, a Account, f EntryFilter, p Page) ([]Entry, string, error) {
	panic("being written")
}

// Events lists the account's events with seq greater than after, oldest first,
// and the account's newest seq.
func (l *Ledger) Events(ctx context.Context, a Account, after int64, limit int) ([]AccountEvent, int64, error) {
	panic("being written")
}

// Escrow returns one escrow, or ErrEscrowNotFound.
func (l *Ledger) Escrow(ctx context.Context, id uuid.UUID) (Escrow, error) { panic("being written") }

// Escrows lists a user's escrows, newest first; an empty status means all.
func (l *Ledger) Escrows(ctx context.Context, user Account, status EscrowStatus, p Page) ([]Escrow, string, error) {
	panic("being written")
}

// Transaction returns one transaction with its entries, or ErrTransactionNotFound.
func (l *Ledger) Transaction(ctx context.Context, id uuid.UUID) (Transaction, error) {
	panic("being written")
}

// Pending implements bus.Source.
func (l *Ledger) Pending(ctx context.Context, after int64, limit int) ([]bus.Pending, error) {
	panic("being written")
}

// Published implements bus.Source.
func (l *Ledger) Published(ctx context.Context, ids []int64) error { panic("being written") }

// Backlog implements bus.Source.
func (l *Ledger) Backlog(ctx context.Context) (int64, time.Time, error) { panic("being written") }

// GroupsAfter implements bus.Source.
func (l *Ledger) GroupsAfter(ctx context.Context, account string, after int64, limit int) ([]bus.Group, error) {
	panic("being written")
}

// ChangedSince implements bus.Source.
func (l *Ledger) ChangedSince(ctx context.Context, t time.Time, above string, limit int) ([]bus.Position, error) {
	panic("being written")
}
