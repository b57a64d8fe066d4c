package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// CheckLayout binds the ledger to the Redis keys under which its events are published. The first
// call stores the keys. A later call with other keys returns bus.ErrLayout, because the new events
// of an account would be in another stream than its earlier ones.
//
// If the keys are new or equal to the stored ones, CheckLayout calls claim, which makes the same
// check in Redis. If claim fails, CheckLayout stores nothing and returns the error of claim.
func (l *Ledger) CheckLayout(ctx context.Context, keys bus.Keys, claim func(context.Context) error) error {
	keys = keys.WithDefaults()
	db := l.store.sharedQueries().db
	used, err := readLayout(ctx, db)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l.storeLayout(ctx, db, keys, claim)
	case err != nil:
		return l.queryError("read layout", err)
	}

	err = compareLayouts(used, keys)
	if err != nil {
		return err
	}

	return claim(ctx)
}

// storeLayout stores the keys of a new ledger. If another core does this at the same time, its
// INSERT waits until this claim has succeeded or failed.
func (l *Ledger) storeLayout(ctx context.Context, db *sqlx.DB, keys bus.Keys, claim func(context.Context) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return l.queryError("store layout", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit

	const insert = `INSERT INTO layout (one, namespace, partitions) VALUES (true, $1, $2) ON CONFLICT DO NOTHING`
	_, err = tx.ExecContext(ctx, insert, keys.Namespace, keys.Partitions)
	if err != nil {
		return l.queryError("store layout", err)
	}

	used, err := readLayout(ctx, tx)
	if err != nil {
		return l.queryError("read layout", err)
	}

	err = compareLayouts(used, keys)
	if err != nil {
		return err
	}

	err = claim(ctx)
	if err != nil {
		return err
	}

	err = tx.Commit()
	if err != nil {
		return l.queryError("store layout", err)
	}

	return nil
}

func readLayout(ctx context.Context, q sqlx.QueryerContext) (used bus.Keys, err error) {
	row := q.QueryRowxContext(ctx, `SELECT namespace, partitions FROM layout`)
	err = row.Scan(&used.Namespace, &used.Partitions)
	return used, err
}

func compareLayouts(used, keys bus.Keys) error {
	if used == keys {
		return nil
	}

	return fmt.Errorf("%w: --namespace must be %s and --partitions must be %d, as stored in the ledger; got %s and %d",
		bus.ErrLayout, used.Namespace, used.Partitions, keys.Namespace, keys.Partitions)
}
