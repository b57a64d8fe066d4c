package wallet

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/google/uuid"
)

// This file answers questions about the past. An account's transactions never go back in time (see
// state.newestChange), so a binary search finds a moment among an account's entries.

// BalanceAt returns the account's state after all that happened up to and including the millisecond
// t. Before the account's first change it is zero. An account that does not exist now is
// ErrAccountNotFound.
func (l *Ledger) BalanceAt(ctx context.Context, a Account, t time.Time) (Balance, error) {
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}

	if !w.UpdatedAt.After(t) {
		return w.currentBalance(), nil
	}

	nextMillisecond := t.Truncate(time.Millisecond).Add(time.Millisecond)
	last, err := l.findLastEntryBefore(ctx, w, smallestID(nextMillisecond))
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}

	if last.seq == 0 {
		return Balance{Account: string(a)}, nil
	}

	tx, err := l.store.readTransaction(ctx, last.transaction)
	if err != nil {
		return Balance{}, l.queryError("balance", err)
	}

	for i := range tx.Parties {
		p := &tx.Parties[i]
		if p.Account == a {
			return p.toBalance(tx.CreatedAt), nil
		}
	}

	return Balance{}, l.queryError("balance", ErrTransactionNotFound)
}

// Export calls f for the account's entries that pass the filter, oldest first, until f fails. It
// holds one page of them in memory.
func (l *Ledger) Export(ctx context.Context, a Account, filter EntryFilter, f func(*Entry) error) error {
	const pageSize = 1000
	w, err := l.store.readWallet(ctx, a)
	if err != nil {
		return l.queryError("export", err)
	}

	after, before, err := l.findSeqBounds(ctx, w, filter)
	if err != nil {
		return l.queryError("export", err)
	}

	for {
		entries, err := l.store.listEntriesForward(ctx, a, filter.Reason, after, before, pageSize)
		if err != nil {
			return l.queryError("export", err)
		}

		for i := range entries {
			err := f(&entries[i])
			if err != nil {
				return err
			}

			after = entries[i].Seq
		}

		if len(entries) < pageSize {
			return nil
		}
	}
}

// findSeqBounds returns the filter's time as a range of seq: after < seq < before. So a query reads
// nothing outside of the range, however long the account's history is.
func (l *Ledger) findSeqBounds(ctx context.Context, w *wallet, f EntryFilter) (after, before int64, err error) {
	before = math.MaxInt64
	if !f.From.IsZero() {
		last, err := l.findLastEntryBefore(ctx, w, smallestID(f.From))
		if err != nil {
			return 0, 0, err
		}

		after = last.seq
	}

	if !f.To.IsZero() {
		last, err := l.findLastEntryBefore(ctx, w, smallestID(f.To))
		if err != nil {
			return 0, 0, err
		}

		before = last.seq + 1
	}

	return after, before, nil
}

// entryPosition says where an entry stands.
type entryPosition struct {
	seq         int64
	transaction uuid.UUID
}

// findLastEntryBefore finds the account's last entry whose transaction id is below the bound; zero:
// there is none. It halves the range of seq in each step.
func (l *Ledger) findLastEntryBefore(ctx context.Context, w *wallet, bound uuid.UUID) (entryPosition, error) {
	var found entryPosition
	low := int64(0) // found.seq is at most low
	high := w.Seq   // no entry above high is below the bound
	for low < high {
		middle := low + (high-low+1)/2
		entry, err := l.store.findEntryUpTo(ctx, w.Account, middle)
		if err != nil {
			return entryPosition{}, err
		}

		switch {
		case entry.seq <= low: // no seq between low and middle is an entry's
			low = middle
		case bytes.Compare(entry.transaction[:], bound[:]) < 0:
			found = entry
			low = middle
		default:
			high = entry.seq - 1
		}
	}

	return found, nil
}
