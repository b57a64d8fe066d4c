package wallet

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/google/uuid"
)

// This file answers questions about the past. It relies on an account's
// transactions never going back in time (apply in commit_apply.go sees to it), so that
// a moment is found among an account's entries by halving.

// BalanceAt returns the account's state after all that happened up to and
// including the millisecond t. Before the account's first change all is zero; an
// account that does not exist now is ErrAccountNotFound.
func (l *Ledger) BalanceAt(ctx context.Context, a Account, t time.Time) (Balance, error) {
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}
	if !w.UpdatedAt.After(t) {
		return w.balance(), nil
	}
	p, err := l.lastBefore(ctx, w, idFrom(t.Truncate(time.Millisecond).Add(time.Millisecond)))
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}
	if p.seq == 0 {
		return Balance{Account: string(a)}, nil
	}
	tx, err := l.store.readTransaction(ctx, p.transaction)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}
	r := receiptOf(tx)
	for _, b := range r.Balances {
		if b.Account == string(a) {
			return b, nil
		}
	}
	return Balance{}, l.queryError("balance", ErrTransactionNotFound)
}

// Export calls f for the account's entries with From <= CreatedAt < To, oldest
// first, until f fails. It holds a page of them in memory at a time.
func (l *Ledger) Export(ctx context.Context, a Account, filter EntryFilter, f func(*Entry) error) error {
	const page = 1000
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return l.queryError("export", err)
	}
	after, before, err := l.seqBounds(ctx, w, filter)
	if err != nil {
		return l.queryError("export", err)
	}
	for {
		entries, err := l.store.listEntriesForward(ctx, a, filter.Reason, after, before, page)
		if err != nil {
			return l.queryError("export", err)
		}
		for i := range entries {
			if err := f(&entries[i]); err != nil {
				return err
			}
			after = entries[i].Seq
		}
		if len(entries) < page {
			return nil
		}
	}
}

// seqBounds is the filter's time as a range of seq: after < seq < before. However
// long the account's history is, what lies outside is not looked at.
func (l *Ledger) seqBounds(ctx context.Context, w *wallet, f EntryFilter) (after, before int64, err error) {
	before = math.MaxInt64
	if !f.From.IsZero() {
		p, err := l.lastBefore(ctx, w, idFrom(f.From))
		if err != nil {
			return 0, 0, err
		}
		after = p.seq
	}
	if !f.To.IsZero() {
		p, err := l.lastBefore(ctx, w, idFrom(f.To))
		if err != nil {
			return 0, 0, err
		}
		before = p.seq + 1
	}
	return after, before, nil
}

// entryPosition is where an entry stands.
type entryPosition struct {
	seq         int64
	transaction uuid.UUID
}

// lastBefore finds the account's last entry of a transaction below the id; the
// zero place: there is none.
func (l *Ledger) lastBefore(ctx context.Context, w *wallet, bound uuid.UUID) (entryPosition, error) {
	var found entryPosition
	low, high := int64(0), w.Seq // found is at or below low; nothing above high is below the bound
	for low < high {
		middle := low + (high-low+1)/2
		p, err := l.store.findEntryUpTo(ctx, w.Account, middle)
		if err != nil {
			return entryPosition{}, err
		}
		switch {
		case p.seq <= low: // nothing between low and middle: seq that are no entry's
			low = middle
		case bytes.Compare(p.transaction[:], bound[:]) < 0:
			found, low = p, middle
		default:
			high = p.seq - 1
		}
	}
	return found, nil
}
