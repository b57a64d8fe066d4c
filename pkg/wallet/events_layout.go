package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// CheckLayout binds the ledger to the keys under which its events are published. The first call
// stores them. A later call with other keys returns bus.ErrLayout, since an account's events would
// go elsewhere than its earlier ones. If the ledger agrees, CheckLayout calls claim, which asks
// Redis the same. It returns claim's error, and then stores nothing.
func (l *Ledger) CheckLayout(ctx context.Context, keys bus.Keys, claim func(context.Context) error) error {
	keys = keys.WithDefaults()
	db := l.store.sharedQueries().db
	used, err := readLayout(ctx, db)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l.storeLayout(ctx, db, keys, claim)
	case err != nil:
		return l.queryError("layout", err)
	}

	err = compareLayouts(used, keys)
	if err != nil {
		return err
	}

	return claim(ctx)
}

// storeLayout binds a new ledger. Another core that does so at the same time waits at the INSERT
// until the claim is decided.
func (l *Ledger) storeLayout(ctx context.Context, db *sqlx.DB, keys bus.Keys, claim func(context.Context) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return l.queryError("layout", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	const insert = `INSERT INTO layout (one, namespace, partitions) VALUES (true, $1, $2) ON CONFLICT DO NOTHING`
	if _, err := tx.ExecContext(ctx, insert, keys.Namespace, keys.Partitions); err != nil {
		return l.queryError("layout", err)
	}

	used, err := readLayout(ctx, tx)
	if err != nil {
		return l.queryError("layout", err)
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
		return l.queryError("layout", err)
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
	return fmt.Errorf("%w: the ledger's events are published under --namespace %s with --partitions %d, not %s and %d: start with the former",
		bus.ErrLayout, used.Namespace, used.Partitions, keys.Namespace, keys.Partitions)
}
