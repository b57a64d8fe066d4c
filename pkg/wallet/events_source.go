package wallet

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// This file is the ledger as the relay sees it: a relay.Source.

// Pending implements relay.Source.
func (l *Ledger) Pending(ctx context.Context, after int64, limit int) ([]bus.OutboxRow, error) {
	rows, err := l.store.listOutbox(ctx, after, limit)
	if err != nil {
		return nil, l.queryError("outbox", err)
	}
	out := make([]bus.OutboxRow, len(rows))
	for i := range rows {
		out[i] = bus.OutboxRow{ID: rows[i].id, CommittedAt: rows[i].tx.CreatedAt, Updates: updatesOf(&rows[i].tx)}
	}
	return out, nil
}

// Published implements relay.Source.
func (l *Ledger) Published(ctx context.Context, ids []int64) error {
	if err := l.store.deleteOutbox(ctx, ids); err != nil {
		return l.queryError("delete from outbox", err)
	}
	return nil
}

// Backlog implements relay.Source.
func (l *Ledger) Backlog(ctx context.Context) (int64, time.Time, error) {
	n, oldest, err := l.store.measureBacklog(ctx)
	if err != nil {
		return 0, time.Time{}, l.queryError("backlog", err)
	}
	if n == 0 {
		return 0, time.Time{}, nil
	}
	return n, idTime(oldest), nil
}

// UpdatesAfter implements relay.Source.
func (l *Ledger) UpdatesAfter(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error) {
	txs, err := l.store.listTransactionsAfter(ctx, Account(account), after, limit)
	if err != nil {
		return nil, l.queryError("events", err)
	}
	out := make([]bus.AccountUpdate, 0, len(txs))
	for i := range txs {
		for _, g := range updatesOf(&txs[i]) {
			if g.Account == account {
				out = append(out, g)
			}
		}
	}
	return out, nil
}

// ChangedSince implements relay.Source.
func (l *Ledger) ChangedSince(ctx context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error) {
	from, after := idFrom(t), uuid.Nil
	if cursor != "" {
		if after, err = uuid.Parse(cursor); err != nil {
			return nil, "", invalid("cursor", "it is none of a page before")
		}
	}
	page, last, err := l.store.listChangedSince(ctx, from, after, limit)
	if err != nil {
		return nil, "", l.queryError("changed accounts", err)
	}
	if last != uuid.Nil {
		next = last.String()
	}
	return page, next, nil
}
