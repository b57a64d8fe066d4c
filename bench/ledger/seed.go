package main

import (
	"context"
	"database/sql"
	"encoding/hex"
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

// maxCopied is the largest number of accounts with which each run gets a copy of the seeded
// database. With more accounts a copy would take longer than the measurement. Then all runs use one
// database, one after the other, and it stays on the server for the next benchmark.
const maxCopied = 100_000

func seedDatabase(accounts int) string {
	if accounts > maxCopied {
		return fmt.Sprintf("bench_accounts_%d", accounts)
	}
	return fmt.Sprintf("_seed_%d", accounts)
}

const runDatabase = "_run"

// seedAccounts makes the database from which the runs start. All accounts have a credit, all events
// are published, and the statistics are up to date.
func (b *bench) seedAccounts(ctx context.Context, accounts int) error {
	exists, err := b.createSeedDatabase(ctx, accounts)
	if err != nil {
		return err
	}

	url := b.seedConfig(accounts).DatabaseURL
	_, err = wallet.Migrate(ctx, url)
	if err != nil {
		return err
	}

	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()

	to := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	size := ledgerseed.Size{
		Accounts: int64(accounts),
		Rounds:   1,
		From:     to.AddDate(-1, 0, 0),
		To:       to,
	}
	err = ledgerseed.Fill(ctx, db, size, nil)
	if err != nil || exists {
		return err
	}

	_, err = db.ExecContext(ctx, `VACUUM (ANALYZE, FREEZE)`)
	return err
}

// createSeedDatabase creates the database unless it stayed on the server. It reports whether it
// did.
func (b *bench) createSeedDatabase(ctx context.Context, accounts int) (exists bool, err error) {
	name := seedDatabase(accounts)
	if accounts <= maxCopied {
		return false, b.CreateDatabase(ctx, name, "")
	}

	exists, err = b.Postgres.Exists(ctx, name)
	if err != nil || exists {
		return exists, err
	}
	return false, b.Postgres.Create(ctx, name, "")
}

func (b *bench) seedConfig(accounts int) *stack.Config {
	c := b.Config(seedDatabase(accounts))
	if accounts > maxCopied {
		c.DatabaseURL = b.Postgres.URL(seedDatabase(accounts))
	}
	return c
}

// openDatabase returns the database of a run. closeDatabase drops it if it is a copy.
func (b *bench) openDatabase(ctx context.Context, accounts int) (*stack.Config, error) {
	if accounts > maxCopied {
		return b.seedConfig(accounts), nil
	}
	return b.Config(runDatabase), b.CreateDatabase(ctx, runDatabase, seedDatabase(accounts))
}

func (b *bench) closeDatabase(ctx context.Context, accounts int) error {
	if accounts > maxCopied {
		return nil
	}
	return b.DropDatabase(ctx, runDatabase)
}

// prepareDatabase writes the balance hashes of the accounts that the load uses into Redis, as the
// published events would have done. It returns the tally of the ledger before the load.
func (b *bench) prepareDatabase(ctx context.Context, c *stack.Config, l *load, published bool) (tally, error) {
	db, err := sql.Open("postgres", c.DatabaseURL)
	if err != nil {
		return tally{}, err
	}
	defer func() { _ = db.Close() }()

	// An earlier benchmark on this database used another namespace.
	_, err = db.ExecContext(ctx, `DELETE FROM layout; DELETE FROM outbox`)
	if err != nil {
		return tally{}, err
	}
	if published {
		const page = 10_000
		for from := 0; from < l.usedAccounts(); from += page {
			to := min(from+page, l.usedAccounts())
			err := b.fillBalances(ctx, db, c.Namespace, l, from, to)
			if err != nil {
				return tally{}, fmt.Errorf("fill Redis: %w", err)
			}
		}
	}
	return readTally(ctx, db)
}

// fillBalances writes the balance hashes of the used accounts number from to number to-1.
func (b *bench) fillBalances(ctx context.Context, db *sql.DB, namespace string, l *load, from, to int) (err error) {
	names := make([]string, 0, to-from)
	for n := from; n < to; n++ {
		names = append(names, accountName(l.accountNumber(n)))
	}

	rows, err := db.QueryContext(
		ctx,
		`SELECT account, available, escrow, seq, hash, updated_at FROM wallets WHERE account = ANY($1)`,
		pq.StringArray(names),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()

	keys := bus.Keys{Namespace: namespace}.WithDefaults()
	_, err = b.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for rows.Next() {
			var account string
			var available, escrow, seq int64
			var hash []byte
			var updatedAt time.Time
			err := rows.Scan(&account, &available, &escrow, &seq, &hash, &updatedAt)
			if err != nil {
				return err
			}

			p.HSet(ctx, keys.BalanceHash(account),
				"available", available,
				"escrow", escrow,
				"seq", seq,
				"chain", hex.EncodeToString(hash[:8]),
				"updatedAt", updatedAt.UTC().Format(bus.TimeFormat))
		}

		return rows.Err()
	})
	return err
}
