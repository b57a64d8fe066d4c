package wallet

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The positions of the journal come from a sequence, and batches of several cores and committers are
// written at the same time. So a row may become visible after a row with a greater position. A
// reader that has gone past it would never see it. A position that is missing between two visible
// rows is such a row, or it belongs to a batch that was not committed. journalGaps tells which.

// journalGaps knows up to which position no row can be added any more.
//
// A statement that takes a position has locked the journal before, and its transaction keeps the
// lock until its rows are visible. So if a row is visible, each smaller position that is missing
// belongs to a transaction that holds such a lock now, or that has ended. When all transactions
// that hold one now have ended, the positions up to this row are settled.
//
// This does not depend on clocks, nor on transactions that write to other tables.
type journalGaps struct {
	listWriters func(ctx context.Context) (map[string]bool, error) // the transactions that hold a lock

	mu         sync.Mutex // protects the fields below
	generation uint64     // of the store
	settled    int64      // no row can be added up to this position
	candidate  int64      // becomes settled when the writers have ended; 0: there is none
	writers    map[string]bool
}

const (
	gapCheckInterval = 5 * time.Millisecond
	gapWait          = 250 * time.Millisecond // of one read, for the transactions that may fill a gap
)

// settleUpTo reports whether no row can be added up to the position, at which a row must have been
// read in this generation. It waits for a short time for the transactions that may add one.
func (g *journalGaps) settleUpTo(ctx context.Context, generation uint64, position int64) (bool, error) {
	deadline := time.Now().Add(gapWait)
	for {
		isSettled, err := g.check(ctx, generation, position)
		if err != nil || isSettled || time.Now().After(deadline) {
			return isSettled, err
		}

		select {
		case <-time.After(gapCheckInterval):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func (g *journalGaps) check(ctx context.Context, generation uint64, position int64) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.generation != generation {
		g.generation = generation
		g.settled = 0
		g.candidate = 0
	}

	if position <= g.settled {
		return true, nil
	}

	writers, err := g.listWriters(ctx)
	if err != nil {
		return false, err
	}

	for writer := range g.writers {
		if !writers[writer] {
			delete(g.writers, writer)
		}
	}

	if g.candidate > 0 && len(g.writers) == 0 {
		g.settled = g.candidate
		g.candidate = 0
	}

	if g.candidate == 0 && position > g.settled {
		g.candidate = position
		g.writers = writers
		if len(writers) == 0 {
			g.settled = position
			g.candidate = 0
		}
	}

	return position <= g.settled, nil
}

// journalWritersSQL returns the transactions that have locked the journal to write.
const journalWritersSQL = `SELECT virtualtransaction FROM pg_locks
	WHERE locktype = 'relation' AND relation = 'journal'::regclass AND mode = 'RowExclusiveLock'
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// errStandbyJournal means that events may be missing before the newest ones. A standby does not know
// the locks of the primary.
var errStandbyJournal = errors.New("the events of all accounts must be read from the primary, since a standby may " +
	"show a transaction before an earlier one; give the URL of the primary")

func (s *postgresStore) listJournalWriters(ctx context.Context) (map[string]bool, error) {
	var isStandby bool
	err := s.reads.db.GetContext(ctx, &isStandby, `SELECT pg_is_in_recovery()`)
	if err != nil {
		return nil, err
	}

	if isStandby {
		return nil, errStandbyJournal
	}

	var ids []string
	err = s.reads.db.SelectContext(ctx, &ids, journalWritersSQL)
	writers := make(map[string]bool, len(ids))
	for _, id := range ids {
		writers[id] = true
	}

	return writers, err
}

func (s *postgresStore) settleJournal(ctx context.Context, generation uint64, position int64) (bool, error) {
	return s.gaps.settleUpTo(ctx, generation, position)
}
