package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// CheckLayout remembers, at the first time, where this ledger's events are
// published; later it is bus.ErrLayout when keys say otherwise: an account's
// events would go elsewhere than its earlier ones. When the ledger agrees, claim
// is called, to ask Redis the same; its error is returned, and nothing is
// remembered.
func (l *Ledger) CheckLayout(ctx context.Context, keys bus.Keys, claim func(context.Context) error) error {
	keys = keys.WithDefaults()
	db := l.store.sharedQueries().db
	used, err := usedLayout(ctx, db)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l.firstLayout(ctx, db, keys, claim)
	case err != nil:
		return l.queryError("layout", err)
	}
	if err := sameLayout(used, keys); err != nil {
		return err
	}
	return claim(ctx)
}

// firstLayout binds a new ledger. Who comes at the same time waits at the INSERT
// until the claim is decided.
func (l *Ledger) firstLayout(ctx context.Context, db *sqlx.DB, keys bus.Keys, claim func(context.Context) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return l.queryError("layout", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	_, err = tx.ExecContext(ctx, `INSERT INTO layout (one, namespace, partitions) VALUES (true, $1, $2) ON CONFLICT DO NOTHING`, keys.Namespace, keys.Partitions)
	if err != nil {
		return l.queryError("layout", err)
	}
	used, err := usedLayout(ctx, tx)
	if err != nil {
		return l.queryError("layout", err)
	}
	if err := sameLayout(used, keys); err != nil {
		return err
	}
	if err := claim(ctx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return l.queryError("layout", err)
	}
	return nil
}

func usedLayout(ctx context.Context, q sqlx.QueryerContext) (used bus.Keys, err error) {
	err = q.QueryRowxContext(ctx, `SELECT namespace, partitions FROM layout`).Scan(&used.Namespace, &used.Partitions)
	return used, err
}

func sameLayout(used, keys bus.Keys) error {
	if used != keys {
		return fmt.Errorf("%w: the ledger's events are published under --namespace %s with --partitions %d, not %s and %d: start with the former",
			bus.ErrLayout, used.Namespace, used.Partitions, keys.Namespace, keys.Partitions)
	}
	return nil
}
