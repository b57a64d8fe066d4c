package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// This file is the ledger as the relay sees it: a bus.Source.

// Pending implements bus.Source.
func (l *Ledger) Pending(ctx context.Context, after int64, limit int) ([]bus.Pending, error) {
	rows, err := l.store.outbox(ctx, after, limit)
	if err != nil {
		return nil, l.queryError("outbox", err)
	}
	out := make([]bus.Pending, len(rows))
	for i := range rows {
		out[i] = bus.Pending{ID: rows[i].id, CommittedAt: rows[i].tx.CreatedAt, Groups: groups(&rows[i].tx)}
	}
	return out, nil
}

// Published implements bus.Source.
func (l *Ledger) Published(ctx context.Context, ids []int64) error {
	if err := l.store.deleteOutbox(ctx, ids); err != nil {
		return l.queryError("delete from outbox", err)
	}
	return nil
}

// Backlog implements bus.Source.
func (l *Ledger) Backlog(ctx context.Context) (int64, time.Time, error) {
	n, oldest, err := l.store.backlog(ctx)
	if err != nil {
		return 0, time.Time{}, l.queryError("backlog", err)
	}
	if n == 0 {
		return 0, time.Time{}, nil
	}
	return n, idTime(oldest), nil
}

// GroupsAfter implements bus.Source.
func (l *Ledger) GroupsAfter(ctx context.Context, account string, after int64, limit int) ([]bus.Group, error) {
	txs, err := l.store.transactionsAfter(ctx, Account(account), after, limit)
	if err != nil {
		return nil, l.queryError("events", err)
	}
	out := make([]bus.Group, 0, len(txs))
	for i := range txs {
		for _, g := range groups(&txs[i]) {
			if g.Account == account {
				out = append(out, g)
			}
		}
	}
	return out, nil
}

// ChangedSince implements bus.Source.
func (l *Ledger) ChangedSince(ctx context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error) {
	from, after := idFrom(t), uuid.Nil
	if cursor != "" {
		if after, err = uuid.Parse(cursor); err != nil {
			return nil, "", invalid("cursor", "it is none of a page before")
		}
	}
	page, last, err := l.store.changedSince(ctx, from, after, limit)
	if err != nil {
		return nil, "", l.queryError("changed accounts", err)
	}
	if last != uuid.Nil {
		next = last.String()
	}
	return page, next, nil
}

// CheckLayout remembers, at the first time, where this ledger's events are
// published; later it is bus.ErrLayout when keys say otherwise: an account's
// events would go elsewhere than its earlier ones. When the ledger agrees, claim
// is called, to ask Redis the same; its error is returned, and nothing is
// remembered.
func (l *Ledger) CheckLayout(ctx context.Context, keys bus.Keys, claim func(context.Context) error) error {
	keys = keys.WithDefaults()
	db := l.store.queries().db
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
