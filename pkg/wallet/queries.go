package wallet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/google/uuid"
)

// Balance returns the account's state, or ErrAccountNotFound.
func (l *Ledger) Balance(ctx context.Context, a Account) (Balance, error) {
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}
	return w.balance(), nil
}

// maxEntryScan is how many seq of an account one page looks through for entries with a reason.
const maxEntryScan = 100_000

// Entries lists the account's entries, newest first, and the cursor of the next
// page (empty: no more). Commits in between change neither order nor cursor. A page
// of entries with a rare reason may hold fewer than the limit, or none, and have a
// next one, since it looks through a bounded part of the history (maxEntryScan).
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
	w, err := l.store.readWallet(ctx, a)
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
		end = max(after, min(before-1, w.Seq)-l.maxEntryScan)
	}
	entries, err := l.store.listEntries(ctx, a, f.Reason, end, before, limit+1)
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
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return nil, 0, l.queryError("events", err)
	}
	txs, err := l.store.listTransactionsAfter(ctx, a, after, limit)
	if err != nil {
		return nil, 0, l.queryError("events", err)
	}
	events, last := make([]AccountEvent, 0, limit), w.Seq
	for i := range txs {
		for _, g := range updatesOf(&txs[i]) {
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
	e, err := l.store.readEscrow(ctx, id)
	if err != nil {
		return Escrow{}, l.queryError("escrow", err)
	}
	return *e, nil
}

// maxEscrowScan is how many escrows of a user one page looks through for those with a status.
const maxEscrowScan = 20_000

// Escrows lists a user's escrows, newest first, and the cursor of the next page; an
// empty status means all. A page of escrows with a status may hold fewer than the
// limit, or none, and have a next one, since it looks through so many (maxEscrowScan).
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
	if _, err := l.store.readWallet(ctx, user); err != nil {
		return nil, "", l.queryError("escrows", err)
	}
	look := limit + 1
	if status != "" {
		look = l.maxEscrowScan
	}
	escrows, last, err := l.store.listEscrows(ctx, user, status, before, look, limit+1)
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
	tx, err := l.store.readTransaction(ctx, id)
	if err != nil {
		return Transaction{}, l.queryError("transaction", err)
	}
	if tx.Entries, err = l.store.readTransactionEntries(ctx, tx); err != nil {
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
