package wallet

import (
	"context"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// TransactionUpdates returns the events of the transactions that exist, grouped by party. It is meant
// for up to a thousand ids.
func (l *Ledger) TransactionUpdates(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]bus.AccountUpdate, error) {
	if len(ids) == 0 {
		return nil, nil
	}

	var rows []transactionRow
	err := l.store.sharedQueries().selectIn(ctx, &rows, transactionsInSQL, ids)
	if err != nil {
		return nil, l.queryError("read transactions", err)
	}

	updates := make(map[uuid.UUID][]bus.AccountUpdate, len(rows))
	for i := range rows {
		tx := rows[i].toTransaction()
		updates[tx.ID] = deriveUpdates(&tx)
	}

	return updates, nil
}

// Balances returns the balances of the accounts that exist, in any order. It is meant for up to a
// thousand accounts.
func (l *Ledger) Balances(ctx context.Context, accounts []string) ([]Balance, error) {
	if len(accounts) == 0 {
		return nil, nil
	}

	var rows []walletRow
	err := l.store.sharedQueries().selectIn(ctx, &rows, walletsInSQL, accounts)
	if err != nil {
		return nil, l.queryError("read balances", err)
	}

	balances := make([]Balance, len(rows))
	for i := range rows {
		w := rows[i].toWallet()
		balances[i] = w.currentBalance()
	}

	return balances, nil
}

const (
	transactionsInSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id IN (?)`
	walletsInSQL      = `SELECT ` + walletColumns + ` FROM wallets WHERE account IN (?)`
)

// selectIn runs a query whose ? is replaced by a list of values.
func (s *sqlStore) selectIn(ctx context.Context, rows any, query string, values any) error {
	query, args, err := sqlx.In(query, values)
	if err != nil {
		return err
	}

	return s.db.SelectContext(ctx, rows, s.db.Rebind(query), args...)
}
