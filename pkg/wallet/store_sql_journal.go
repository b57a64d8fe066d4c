package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// journalRow is a row of the journal: the transactions that one batch wrote, in order. On SQLite each
// row has one transaction.
type journalRow struct {
	position     int64
	transactions []uuid.UUID
}

// journalSQL returns rows with position >= $1 until they have $2 transactions.
const (
	journalSQL = `SELECT position, transactions FROM
		(SELECT position, transactions, sum(size) OVER (ORDER BY position) - size AS before FROM
			(SELECT position, transactions, size FROM journal WHERE position >= $1 ORDER BY position LIMIT $2) j) b
		WHERE before < $2 ORDER BY position`
	journalSQLite = `SELECT position, transaction_id FROM journal WHERE position >= $1 ORDER BY position LIMIT $2`
)

// listJournal returns the rows from a position on, until they have count transactions.
func (s *sqlStore) listJournal(ctx context.Context, from int64, count int) ([]journalRow, error) {
	if s.isSQLite() {
		return s.listJournalSQLite(ctx, from, count)
	}

	var stored []struct {
		Position     int64          `db:"position"`
		Transactions pq.StringArray `db:"transactions"`
	}
	err := s.db.SelectContext(ctx, &stored, journalSQL, from, count)
	if err != nil {
		return nil, err
	}

	rows := make([]journalRow, len(stored))
	for i := range stored {
		rows[i].position = stored[i].Position
		rows[i].transactions = make([]uuid.UUID, len(stored[i].Transactions))
		for n, text := range stored[i].Transactions {
			rows[i].transactions[n], err = uuid.Parse(text)
			if err != nil {
				return nil, err
			}
		}
	}

	return rows, nil
}

func (s *sqlStore) listJournalSQLite(ctx context.Context, from int64, count int) ([]journalRow, error) {
	var stored []struct {
		Position    int64     `db:"position"`
		Transaction uuid.UUID `db:"transaction_id"`
	}
	err := s.db.SelectContext(ctx, &stored, journalSQLite, from, count)
	rows := make([]journalRow, len(stored))
	for i := range stored {
		rows[i].position = stored[i].Position
		rows[i].transactions = []uuid.UUID{stored[i].Transaction}
	}

	return rows, err
}

const lastPositionSQL = `SELECT coalesce((SELECT position FROM journal ORDER BY position DESC LIMIT 1), 0)`

// lastJournalPosition returns the position of the newest row, or 0 if there is none.
func (s *sqlStore) lastJournalPosition(ctx context.Context) (int64, error) {
	var last int64
	err := s.db.GetContext(ctx, &last, lastPositionSQL)
	return last, err
}

const (
	firstInRowSQL    = `SELECT position, transactions[1] AS transaction_id FROM journal WHERE position >= $1 ORDER BY position LIMIT 1`
	firstInRowSQLite = `SELECT position, transaction_id FROM journal WHERE position >= $1 ORDER BY position LIMIT 1`
)

// firstInJournal returns the place before the first transaction of the first row from a position on.
// found is false if there is no such row.
func (s *sqlStore) firstInJournal(ctx context.Context, from int64) (c journalCursor, found bool, err error) {
	statement := firstInRowSQL
	if s.isSQLite() {
		statement = firstInRowSQLite
	}

	err = s.db.QueryRowxContext(ctx, statement, from).Scan(&c.position, &c.transaction)
	if errors.Is(err, sql.ErrNoRows) {
		return journalCursor{}, false, nil
	}

	return c, err == nil, err
}

// listTransactions returns the transactions with these ids, in the order of the ids.
func (s *sqlStore) listTransactions(ctx context.Context, ids []uuid.UUID) ([]Transaction, error) {
	if len(ids) == 0 {
		return nil, nil
	}

	stored, err := s.selectTransactions(ctx, ids)
	if err != nil {
		return nil, err
	}

	found := make(map[uuid.UUID]*transactionRow, len(stored))
	for i := range stored {
		found[stored[i].ID] = &stored[i]
	}

	transactions := make([]Transaction, len(ids))
	for i, id := range ids {
		row := found[id]
		if row == nil {
			return nil, fmt.Errorf("transaction %s is in the journal but does not exist", id)
		}

		transactions[i] = row.toTransaction()
	}

	return transactions, nil
}

// selectTransactions returns the rows of the transactions that exist, in any order.
func (s *sqlStore) selectTransactions(ctx context.Context, ids []uuid.UUID) (rows []transactionRow, err error) {
	if s.isSQLite() {
		err = s.selectIn(ctx, &rows, transactionsInSQL, ids)
		return rows, err
	}

	array := newPgArray(pgUUID)
	for _, id := range ids {
		array.appendUUID(id)
	}

	err = s.db.SelectContext(ctx, &rows, transactionsByIDSQL, array.encode())
	return rows, err
}
