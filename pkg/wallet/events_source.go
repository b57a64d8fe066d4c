package wallet

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// This file implements relay.Source, the relay's view of the ledger.

// Pending implements relay.Source.
func (l *Ledger) Pending(ctx context.Context, after int64, limit int) ([]bus.OutboxRow, error) {
	generation := l.store.generation()
	stored, err := l.store.listOutboxRows(ctx, after, limit)
	if err != nil {
		return nil, l.queryError("read outbox", err)
	}

	var newest time.Time
	rows := make([]bus.OutboxRow, len(stored))
	for i := range stored {
		tx := &stored[i].tx
		newest = latest(newest, tx.CreatedAt)
		rows[i] = bus.OutboxRow{
			ID:          stored[i].id,
			CommittedAt: tx.CreatedAt,
			Updates:     deriveUpdates(tx),
		}
	}

	if len(rows) == 0 {
		return nil, nil
	}

	err = l.store.durability().proveVisible(ctx, generation, newest)
	if err != nil {
		return nil, l.queryError("read outbox", err)
	}

	return rows, nil
}

// Published implements relay.Source.
func (l *Ledger) Published(ctx context.Context, ids []int64) error {
	err := l.store.deleteOutboxRows(ctx, ids)
	if err != nil {
		return l.queryError("delete from outbox", err)
	}

	return nil
}

// Backlog implements relay.Source.
func (l *Ledger) Backlog(ctx context.Context) (int64, time.Time, error) {
	n, oldest, err := l.store.measureBacklog(ctx)
	if err != nil {
		return 0, time.Time{}, l.queryError("measure backlog", err)
	}

	if n == 0 {
		return 0, time.Time{}, nil
	}

	return n, idTime(oldest), nil
}

// UpdatesAfter implements relay.Source.
func (l *Ledger) UpdatesAfter(ctx context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error) {
	generation := l.store.generation()
	updates, newest, err := l.listUpdates(ctx, l.store.sharedQueries(), account, after, limit)
	if err != nil || len(updates) == 0 {
		return nil, err
	}

	err = l.store.durability().proveVisible(ctx, generation, newest)
	if err != nil {
		return nil, l.queryError("read events", err)
	}

	return updates, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}

	return b
}

// listUpdates is UpdatesAfter on the connections of the given queries, without a proof. It also
// returns the time of the newest transaction.
func (l *Ledger) listUpdates(
	ctx context.Context, queries *sqlStore, account string, after int64, limit int,
) (updates []bus.AccountUpdate, newest time.Time, err error) {
	txs, err := queries.listTransactionsAfter(ctx, Account(account), after, limit)
	if err != nil {
		return nil, time.Time{}, l.queryError("read events", err)
	}

	updates = make([]bus.AccountUpdate, 0, len(txs))
	for i := range txs {
		newest = latest(newest, txs[i].CreatedAt)
		for _, update := range deriveUpdates(&txs[i]) {
			if update.Account == account {
				updates = append(updates, update)
			}
		}
	}

	return updates, newest, nil
}

// ChangedSince implements relay.Source.
func (l *Ledger) ChangedSince(
	ctx context.Context, t time.Time, cursor string, limit int,
) (page []bus.Position, next string, err error) {
	after := uuid.Nil
	if cursor != "" {
		after, err = uuid.Parse(cursor)
		if err != nil {
			return nil, "", invalidField("cursor", "cursor must be the next cursor of an earlier page")
		}
	}

	page, last, err := l.store.listChangedSince(ctx, smallestID(t), after, limit)
	if err != nil {
		return nil, "", l.queryError("list changed accounts", err)
	}

	if last != uuid.Nil {
		next = last.String()
	}

	return page, next, nil
}

// ChainsAt implements relay.Source. It is one query.
func (l *Ledger) ChainsAt(ctx context.Context, positions []bus.Position) (chains []bus.Chain, found []bool, err error) {
	if len(positions) == 0 {
		return nil, nil, nil
	}

	chains, found, err = l.store.findChains(ctx, positions)
	if err != nil {
		return nil, nil, l.queryError("read chains", err)
	}

	return chains, found, nil
}

// Positions implements relay.Source. It is one query.
func (l *Ledger) Positions(ctx context.Context, accounts []string) ([]bus.Position, error) {
	if len(accounts) == 0 {
		return nil, nil
	}

	stored, err := l.store.listPositions(ctx, accounts)
	if err != nil {
		return nil, l.queryError("read positions", err)
	}

	byAccount := make(map[string]bus.Position, len(stored))
	for _, p := range stored {
		byAccount[p.Account] = p
	}

	positions := make([]bus.Position, len(accounts))
	for i, account := range accounts {
		p := byAccount[account]
		p.Account = account // of an account that does not exist, too
		positions[i] = p
	}

	return positions, nil
}
