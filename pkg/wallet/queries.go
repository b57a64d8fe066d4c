package wallet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Balance returns the account's state, or ErrAccountNotFound.
func (l *Ledger) Balance(ctx context.Context, a Account) (b Balance, err error) {
	err = l.confirmRead(ctx, func() (time.Time, error) {
		b, err = l.readBalance(ctx, a)
		return b.UpdatedAt, err
	})
	return b, err
}

func (l *Ledger) readBalance(ctx context.Context, a Account) (Balance, error) {
	w, err := l.reads.readWallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("read balance", err)
	}

	return w.currentBalance(), nil
}

// maxEntryScan bounds the range of seq that one page of entries with a reason searches. The search
// costs about as much as a page of 1000 entries, 10 ms. With 100,000 it would cost over 100 ms.
const maxEntryScan = 5000

// Entries returns a page of the account's entries, newest first, and the cursor of the next page.
// The cursor is empty after the last page. Later commits change neither the order nor the cursor.
//
// If the filter has a reason, a page searches only a bounded part of the history. So it may have
// fewer entries than the limit, or none, although there is a next page.
func (l *Ledger) Entries(ctx context.Context, a Account, f EntryFilter, p Page) (entries []Entry, next string, err error) {
	err = l.confirmRead(ctx, func() (newest time.Time, _ error) {
		entries, next, err = l.readEntries(ctx, a, f, p)
		for i := range entries {
			newest = latest(newest, entries[i].CreatedAt)
		}

		return newest, err
	})
	return entries, next, err
}

func (l *Ledger) readEntries(ctx context.Context, a Account, f EntryFilter, p Page) ([]Entry, string, error) {
	before, err := p.parseSeqCursor()
	if err != nil {
		return nil, "", err
	}

	limit, err := p.pageLimit()
	if err != nil {
		return nil, "", err
	}

	w, err := l.reads.readWallet(ctx, a)
	if err != nil {
		return nil, "", l.queryError("list entries", err)
	}

	after, to, err := l.findSeqBounds(ctx, w, f)
	if err != nil {
		return nil, "", l.queryError("list entries", err)
	}

	before = min(before, to)
	scanEnd := after
	if f.Reason != "" {
		newest := min(before-1, w.Seq)
		scanEnd = max(after, newest-l.maxEntryScan)
	}

	entries, err := l.reads.listEntries(ctx, a, f.Reason, scanEnd, before, limit+1)
	switch {
	case err != nil:
		return nil, "", l.queryError("list entries", err)
	case len(entries) > limit:
		entries = entries[:limit]
		return entries, strconv.FormatInt(entries[limit-1].Seq, 10), nil
	case scanEnd > after:
		return entries, strconv.FormatInt(scanEnd+1, 10), nil
	}

	return entries, "", nil
}

// Events returns the account's events with a seq greater than after, oldest first, and the
// account's newest seq. limit is the maximum number of events, from 1 to 1000. 0 means 100.
func (l *Ledger) Events(ctx context.Context, a Account, after int64, limit int) (events []AccountEvent, newest int64, err error) {
	err = l.confirmRead(ctx, func() (changedAt time.Time, _ error) {
		events, newest, changedAt, err = l.readEvents(ctx, a, after, limit)
		return changedAt, err
	})
	return events, newest, err
}

// readEvents also returns the time of the account's newest change.
func (l *Ledger) readEvents(
	ctx context.Context, a Account, after int64, limit int,
) (events []AccountEvent, newest int64, changedAt time.Time, err error) {
	limit, err = Page{Limit: limit}.pageLimit()
	if err != nil {
		return nil, 0, time.Time{}, err
	}

	if after < 0 {
		return nil, 0, time.Time{}, invalidField("/after", "after must be 0 or more")
	}

	w, err := l.reads.readWallet(ctx, a)
	if err != nil {
		return nil, 0, time.Time{}, l.queryError("read events", err)
	}

	updates, changedAt, err := l.listUpdates(ctx, l.reads, string(a), after, limit)
	if err != nil {
		return nil, 0, time.Time{}, err
	}

	newest = w.Seq
	events = make([]AccountEvent, 0, limit)
	for _, update := range updates {
		for i := range update.Deliveries {
			d := &update.Deliveries[i]
			if d.Seq <= after || len(events) == limit {
				continue
			}

			events = append(events, AccountEvent{
				Account: a,
				Seq:     d.Seq,
				Chain:   d.Chain,
				Event:   d.ForAccount(),
			})
			newest = max(newest, d.Seq)
		}
	}

	return events, newest, latest(changedAt, w.UpdatedAt), nil
}

// Escrow returns one escrow, or ErrEscrowNotFound.
func (l *Ledger) Escrow(ctx context.Context, id uuid.UUID) (e Escrow, err error) {
	err = l.confirmRead(ctx, func() (time.Time, error) {
		e, err = l.readEscrow(ctx, id)
		return latest(e.CreatedAt, e.ClosedAt), err
	})
	return e, err
}

func (l *Ledger) readEscrow(ctx context.Context, id uuid.UUID) (Escrow, error) {
	e, err := l.reads.readEscrow(ctx, id)
	if err != nil {
		return Escrow{}, l.queryError("read escrow", err)
	}

	return *e, nil
}

// maxEscrowScan bounds the number of escrows that one page of escrows with a status searches.
const maxEscrowScan = 5000

// Escrows returns a page of a user's escrows, newest first, and the cursor of the next page. The
// cursor is empty after the last page. An empty status selects all escrows.
//
// If there is a status, a page searches only a bounded number of escrows. So it may have fewer
// escrows than the limit, or none, although there is a next page.
func (l *Ledger) Escrows(ctx context.Context, user Account, status EscrowStatus, p Page) (escrows []Escrow, next string, err error) {
	err = l.confirmRead(ctx, func() (newest time.Time, _ error) {
		escrows, next, err = l.readEscrows(ctx, user, status, p)
		for i := range escrows {
			newest = latest(newest, latest(escrows[i].CreatedAt, escrows[i].ClosedAt))
		}

		return newest, err
	})
	return escrows, next, err
}

func (l *Ledger) readEscrows(ctx context.Context, user Account, status EscrowStatus, p Page) ([]Escrow, string, error) {
	before, err := p.parseIDCursor()
	if err != nil {
		return nil, "", err
	}

	limit, err := p.pageLimit()
	if err != nil {
		return nil, "", err
	}

	switch status {
	case "", StatusHeld, StatusSettled, StatusRefunded, StatusPartiallySettled:
	default:
		return nil, "", invalidField("/status", "status must be held, settled, refunded or partially_settled")
	}

	_, err = l.reads.readWallet(ctx, user)
	if err != nil {
		return nil, "", l.queryError("list escrows", err)
	}

	scan := limit + 1
	if status != "" {
		scan = l.maxEscrowScan
	}

	escrows, last, err := l.reads.listEscrows(ctx, user, status, before, scan, limit+1)
	switch {
	case err != nil:
		return nil, "", l.queryError("list escrows", err)
	case len(escrows) > limit:
		escrows = escrows[:limit]
		return escrows, escrows[limit-1].ID.String(), nil
	case last != uuid.Nil:
		return escrows, last.String(), nil
	}

	return escrows, "", nil
}

// Transaction returns one transaction with its entries, or ErrTransactionNotFound.
func (l *Ledger) Transaction(ctx context.Context, id uuid.UUID) (tx Transaction, err error) {
	err = l.confirmRead(ctx, func() (time.Time, error) {
		tx, err = l.readTransaction(ctx, id)
		return tx.CreatedAt, err
	})
	return tx, err
}

func (l *Ledger) readTransaction(ctx context.Context, id uuid.UUID) (Transaction, error) {
	tx, err := l.reads.readTransaction(ctx, id)
	if err != nil {
		return Transaction{}, l.queryError("read transaction", err)
	}

	tx.Entries, err = l.reads.readTransactionEntries(ctx, tx)
	if err != nil {
		return Transaction{}, l.queryError("read transaction", err)
	}

	return *tx, nil
}

// confirmRead runs a query of a caller, which returns the time of the newest transaction that it shows.
// It returns an error if a failover may lose what the query shows. If the server was replaced
// meanwhile, the query runs again.
func (l *Ledger) confirmRead(ctx context.Context, read func() (newest time.Time, err error)) error {
	var err error
	for range 2 {
		var newest time.Time
		generation := l.store.generation()
		newest, err = read()
		if err != nil {
			return err
		}

		err = l.store.durability().proveRead(ctx, generation, newest)
		if err == nil {
			return nil
		}

		if generation == l.store.generation() {
			break
		}
	}

	return l.queryError("confirm read", err)
}

// queryError adds the name of the query to an error. It also adds ErrUnavailable if the database
// cannot be reached.
func (l *Ledger) queryError(query string, err error) error {
	if isRetryable(err) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w: %w", query, ErrUnavailable, err)
	}

	return fmt.Errorf("%s: %w", query, err)
}

// pageLimit returns the limit or its default.
func (p Page) pageLimit() (int, error) {
	switch {
	case p.Limit == 0:
		return 100, nil
	case p.Limit < 1 || p.Limit > 1000:
		return 0, invalidField("/limit", "limit must be a whole number from 1 to 1000")
	}

	return p.Limit, nil
}

var errBadCursor = invalidField("/before", "before must be the next cursor of an earlier page")

// parseSeqCursor returns the upper bound of seq for the page.
func (p Page) parseSeqCursor() (int64, error) {
	if p.Before == "" {
		return math.MaxInt64, nil
	}

	seq, err := strconv.ParseInt(p.Before, 10, 64)
	if err != nil || seq < 1 {
		return 0, errBadCursor
	}

	return seq, nil
}

// parseIDCursor returns the upper bound of ids for the page.
func (p Page) parseIDCursor() (uuid.UUID, error) {
	if p.Before == "" {
		return uuid.Max, nil
	}

	id, err := uuid.Parse(p.Before)
	if err != nil {
		return uuid.Nil, errBadCursor
	}

	return id, nil
}
