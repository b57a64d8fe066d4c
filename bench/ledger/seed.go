package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/ledgerseed"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// A run has a copy of the seeded database. Above so many accounts copying would
// take longer than measuring: all runs are on one database then, one after the
// other, and it stays on the server for the next time.
const mostCopied = 100_000

func seedDatabase(accounts int) string {
	if accounts > mostCopied {
		return fmt.Sprintf("bench_accounts_%d", accounts)
	}
	return fmt.Sprintf("_seed_%d", accounts)
}

const runDatabase = "_run"

// seed makes the database that runs start from: migrated, each account credited,
// everything published, its statistics up to date.
func (b *bench) seed(ctx context.Context, accounts int) error {
	name, there := seedDatabase(accounts), false
	var err error
	if accounts > mostCopied {
		if there, err = b.Postgres.Exists(ctx, name); err == nil && !there {
			err = b.Postgres.Create(ctx, name, "")
		}
	} else {
		err = b.CreateDatabase(ctx, name, "")
	}
	if err != nil {
		return err
	}
	url := b.seedConfig(accounts).DatabaseURL
	if _, err := wallet.Migrate(ctx, url); err != nil {
		return err
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	to := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	if err := ledgerseed.Fill(ctx, db, ledgerseed.Size{Accounts: int64(accounts), Rounds: 1, From: to.AddDate(-1, 0, 0), To: to}, nil); err != nil {
		return err
	}
	if !there {
		_, err = db.ExecContext(ctx, `VACUUM (ANALYZE, FREEZE)`)
	}
	return err
}

func (b *bench) seedConfig(accounts int) *stack.Config {
	c := b.Config(seedDatabase(accounts))
	if accounts > mostCopied {
		c.DatabaseURL = b.Postgres.URL(seedDatabase(accounts))
	}
	return c
}

// database makes a run's database ready, and leave drops it if it was a copy.
func (b *bench) database(ctx context.Context, accounts int) (*stack.Config, error) {
	if accounts > mostCopied {
		return b.seedConfig(accounts), nil
	}
	return b.Config(runDatabase), b.CreateDatabase(ctx, runDatabase, seedDatabase(accounts))
}

func (b *bench) leave(ctx context.Context, accounts int) error {
	if accounts > mostCopied {
		return nil
	}
	return b.DropDatabase(ctx, runDatabase)
}

// prepare gives Redis the balance hashes of the accounts that the load will use,
// as publishing their events would have, and counts what the ledger holds.
func (b *bench) prepare(ctx context.Context, c *stack.Config, l *load, published bool) (tally, error) {
	db, err := sql.Open("postgres", c.DatabaseURL)
	if err != nil {
		return tally{}, err
	}
	defer func() { _ = db.Close() }()
	// An earlier benchmark on this database had another namespace.
	if _, err := db.ExecContext(ctx, `DELETE FROM layout; DELETE FROM outbox`); err != nil {
		return tally{}, err
	}
	if published {
		const page = 10_000
		for from := 0; from < l.used(); from += page {
			if err := b.fill(ctx, db, c.Namespace, l, from, min(from+page, l.used())); err != nil {
				return tally{}, fmt.Errorf("fill Redis: %w", err)
			}
		}
	}
	return readTally(ctx, db)
}

func (b *bench) fill(ctx context.Context, db *sql.DB, namespace string, l *load, from, to int) (err error) {
	names := make([]string, 0, to-from)
	for n := from; n < to; n++ {
		names = append(names, accountOf(l.account(n)))
	}
	rows, err := db.QueryContext(ctx, `SELECT account, available, escrow, seq, updated_at FROM wallets WHERE account = ANY($1)`, pq.StringArray(names))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	_, err = b.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for rows.Next() {
			var account string
			var available, escrow, seq int64
			var at time.Time
			if err := rows.Scan(&account, &available, &escrow, &seq, &at); err != nil {
				return err
			}
			p.HSet(ctx, keys.BalanceHash(account), "available", available, "escrow", escrow, "seq", seq, "updatedAt", at.UTC().Format(bus.TimeFormat))
		}
		return rows.Err()
	})
	return err
}
