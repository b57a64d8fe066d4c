package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/stack"
)

// tally is what a ledger holds, counted by SQL.
type tally struct {
	Holds       int64 // idempotency keys of holds
	Settlements int64
	Transacted  int64 // transactions, those of the seed included
	Escrows     int64
	Held        int64 // escrows that are held
	Entries     int64
	EntrySum    int64 // of all amounts: zero in double entry
	Available   int64
	Escrow      int64
	Earned      int64
	Events      int64 // the sum of all accounts' seq
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

// after is what a ledger holds after so many holds and settlements of the
// baseline or, with published events, of the core.
func (t tally) after(held, settled int64, published bool) tally {
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

// maxDrain is how long the core may take to publish what is left when the load ends.
const maxDrain = 30 * time.Second

// verify compares a ledger with what was answered to the clients, and for the
// core the streams as well. It returns how long the outbox took to drain.
func (b *bench) verify(ctx context.Context, c *stack.Config, l *load, before tally, published bool) (drained time.Duration, err error) {
	db, err := sql.Open("postgres", c.DatabaseURL)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	if published {
		if drained, err = awaitEmptyOutbox(ctx, db); err != nil {
			return 0, err
		}
	}
	got, err := readTally(ctx, db)
	if err != nil {
		return 0, err
	}
	held, settled := l.held.Load(), l.ended.Load()
	if want := before.after(held, settled, published); got != want {
		return 0, fmt.Errorf("the ledger is not what was answered:\n got %+v\nwant %+v", got, want)
	}
	if !published {
		return 0, nil
	}
	entries, err := b.Redis.Entries(ctx, c.Namespace)
	if err != nil {
		return 0, err
	}
	if want := 3*held + 4*settled; entries != want {
		return 0, fmt.Errorf("the streams hold %d entries, want %d", entries, want)
	}
	return drained, nil
}

func awaitEmptyOutbox(ctx context.Context, db *sql.DB) (time.Duration, error) {
	begin := time.Now()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		var rows int64
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM outbox`).Scan(&rows); err != nil {
			return 0, err
		}
		if took := time.Since(begin); rows == 0 {
			return took, nil
		} else if took > maxDrain {
			return 0, fmt.Errorf("%d rows are left in the outbox %s after the load", rows, maxDrain)
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("interrupted")
		case <-poll.C:
		}
	}
}
