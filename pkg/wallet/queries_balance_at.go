package wallet

import (
	"bytes"
	"context"
	"math"
	"time"

	"github.com/google/uuid"
)

// This file has the queries about earlier times. The times of an account's transactions never
// decrease (see state.newestChange), so a binary search over an account's entries finds a time.

// BalanceAt returns the account's state at the end of the millisecond t. Before the account's first
// change all balances are zero. If the account does not exist now, the error is ErrAccountNotFound.
func (l *Ledger) BalanceAt(ctx context.Context, a Account, t time.Time) (b Balance, err error) {
	err = l.confirmRead(ctx, func() (time.Time, error) {
		b, err = l.readBalanceAt(ctx, a, t)
		return b.UpdatedAt, err
	})
	return b, err
}

func (l *Ledger) readBalanceAt(ctx context.Context, a Account, t time.Time) (Balance, error) {
	w, err := l.reads.readWallet(ctx, a)
	if err != nil {
		return Balance{}, l.queryError("read balance", err)
	}

	if !w.UpdatedAt.After(t) {
		return w.currentBalance(), nil
	}

	nextMillisecond := t.Truncate(time.Millisecond).Add(time.Millisecond)
	last, err := l.findLastEntryBefore(ctx, w, smallestID(nextMillisecond))
	if err != nil {
		return Balance{}, l.queryError("read balance", err)
	}

	if last.seq == 0 {
		return Balance{Account: string(a)}, nil
	}

	tx, err := l.reads.readTransaction(ctx, last.transaction)
	if err != nil {
		return Balance{}, l.queryError("read balance", err)
	}

	for i := range tx.Parties {
		p := &tx.Parties[i]
		if p.Account == a {
			return p.toBalance(tx.CreatedAt), nil
		}
	}

	return Balance{}, l.queryError("read balance", ErrTransactionNotFound)
}

// Export calls f for each of the account's entries that match the filter, oldest first. If f
// returns an error, Export stops and returns it. Export keeps one page of entries in memory.
func (l *Ledger) Export(ctx context.Context, a Account, filter EntryFilter, f func(*Entry) error) error {
	const pageSize = 1000
	w, err := l.reads.readWallet(ctx, a)
	if err != nil {
		return l.queryError("export entries", err)
	}

	after, before, err := l.findSeqBounds(ctx, w, filter)
	if err != nil {
		return l.queryError("export entries", err)
	}

	for {
		var entries []Entry
		err := l.confirmRead(ctx, func() (newest time.Time, err error) {
			entries, err = l.reads.listEntriesForward(ctx, a, filter.Reason, after, before, pageSize)
			if len(entries) > 0 {
				newest = entries[len(entries)-1].CreatedAt
			}

			return newest, err
		})
		if err != nil {
			return l.queryError("export entries", err)
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

// findSeqBounds converts the filter's times into a range of seq: after < seq < before. A query then
// reads only entries in this range, even if the account has a long history.
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

// entryPosition is the place of an entry in the ledger. The zero value means that there is no
// entry.
type entryPosition struct {
	seq         int64
	transaction uuid.UUID
}

// findLastEntryBefore returns the account's last entry whose transaction id is less than the bound.
// It is a binary search over seq.
func (l *Ledger) findLastEntryBefore(ctx context.Context, w *wallet, bound uuid.UUID) (entryPosition, error) {
	var found entryPosition
	low := int64(0) // found.seq <= low
	high := w.Seq   // the entries with seq > high are not before the bound
	for low < high {
		middle := low + (high-low+1)/2
		entry, err := l.reads.findEntryUpTo(ctx, w.Account, middle)
		if err != nil {
			return entryPosition{}, err
		}

		switch {
		case entry.seq <= low: // there is no entry between low and middle
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
