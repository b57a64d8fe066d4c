package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/stack"
)

// tally counts the rows and points of a ledger.
type tally struct {
	Holds       int64 // idempotency keys of holds
	Settlements int64
	Transacted  int64 // transactions, with those of the seed
	Escrows     int64
	Held        int64 // open escrows
	Entries     int64
	EntrySum    int64 // of all amounts; it must be zero
	Available   int64
	Escrow      int64
	Earned      int64
	Events      int64 // sum of the seqs of all accounts
	Outbox      int64
}

const tallySQL = `SELECT
	(SELECT count(*) FROM idempotency_keys WHERE operation = 'hold'),
	(SELECT count(*) FROM idempotency_keys WHERE operation = 'settle'),
	(SELECT count(*) FROM transactions),
	(SELECT count(*) FROM escrows), (SELECT count(*) FROM escrows WHERE status = 'held'),
	(SELECT count(*) FROM entries), (SELECT coalesce(sum(amount), 0)::bigint FROM entries),
	(SELECT sum(available)::bigint FROM wallets), (SELECT sum(escrow)::bigint FROM wallets), (SELECT sum(earned)::bigint FROM wallets),
	(SELECT sum(seq)::bigint FROM wallets), (SELECT count(*) FROM outbox)`

func readTally(ctx context.Context, db *sql.DB) (tally, error) {
	var t tally
	err := db.QueryRowContext(ctx, tallySQL).Scan(&t.Holds, &t.Settlements, &t.Transacted, &t.Escrows, &t.Held,
		&t.Entries, &t.EntrySum, &t.Available, &t.Escrow, &t.Earned, &t.Events, &t.Outbox)
	return t, err
}

// expectedAfter returns the tally after a number of holds and settlements. published says that the
// server publishes its events, as the core does and the baseline does not.
func (t tally) expectedAfter(held, settled int64, published bool) tally {
	t.Holds += held
	t.Settlements += settled
	t.Transacted += held + settled
	t.Escrows += held
	t.Held += held - settled
	t.Entries += 2 * (held + settled)
	t.Available -= held * holdAmount
	t.Escrow += (held - settled) * holdAmount
	t.Earned += settled * holdAmount
	t.Events += 3*held + 4*settled
	if !published {
		t.Outbox += held
	}
	return t
}

// maxDrain is the time in which the core must publish the remaining events after the load.
const maxDrain = 30 * time.Second

// verifyLedger compares the ledger with the answers that the clients got. For the core it checks
// the streams as well. It returns the time until the outbox was empty.
func (b *bench) verifyLedger(ctx context.Context, c *stack.Config, l *load, before tally, published bool) (drained time.Duration, err error) {
	db, err := sql.Open("postgres", c.DatabaseURL)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	if published {
		drained, err = awaitEmptyOutbox(ctx, db)
		if err != nil {
			return 0, err
		}
	}

	got, err := readTally(ctx, db)
	if err != nil {
		return 0, err
	}

	held := l.held.Load()
	settled := l.settled.Load()
	want := before.expectedAfter(held, settled, published)
	if got != want {
		return 0, fmt.Errorf("the ledger must match the answers:\n got %+v\nwant %+v", got, want)
	}

	if !published {
		return 0, nil
	}

	entries, err := b.Redis.Entries(ctx, c.Namespace)
	if err != nil {
		return 0, err
	}

	wantEntries := 3*held + 4*settled
	if entries != wantEntries {
		return 0, fmt.Errorf("the streams must have %d entries, but have %d", wantEntries, entries)
	}
	return drained, nil
}

// awaitEmptyOutbox returns the time until the outbox was empty.
func awaitEmptyOutbox(ctx context.Context, db *sql.DB) (time.Duration, error) {
	begin := time.Now()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		var rows int64
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM outbox`).Scan(&rows)
		if err != nil {
			return 0, err
		}

		took := time.Since(begin)
		if rows == 0 {
			return took, nil
		}
		if took > maxDrain {
			return 0, fmt.Errorf("the outbox must be empty within %s after the load, but has %d rows",
				maxDrain, rows)
		}

		select {
		case <-ctx.Done():
			return 0, errors.New("interrupted")
		case <-poll.C:
		}
	}
}
