package wallet

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"
)

// entryRow is an entry with columns of its transaction.
type entryRow struct {
	Account       string        `db:"account"`
	Seq           dbNumber      `db:"seq"`
	TransactionID uuid.UUID     `db:"transaction_id"`
	Place         int           `db:"place"`
	State         string        `db:"state"`
	Amount        int64         `db:"amount"`
	BalanceBefore int64         `db:"balance_before"`
	BalanceAfter  int64         `db:"balance_after"`
	Hash          []byte        `db:"hash"`
	CreatedAt     dbTime        `db:"created_at"`
	Operation     string        `db:"operation"`
	Reason        string        `db:"reason"`
	EscrowID      uuid.NullUUID `db:"escrow_id"`
	QueueItemID   dbText        `db:"queue_item_id"`
	FeatureType   dbText        `db:"feature_type"`
	CorrelationID dbText        `db:"correlation_id"`
	RequestID     dbText        `db:"request_id"`
	Metadata      dbText        `db:"metadata"`
}

const entryColumns = `e.account, e.seq, e.transaction_id, e.place, e.state, e.amount, e.balance_before, e.balance_after,
	e.hash, e.created_at, t.operation, t.reason, t.escrow_id, t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata`

func (r *entryRow) toEntry() Entry {
	e := Entry{
		ID:            entryID(r.TransactionID, r.Place),
		TransactionID: r.TransactionID,
		Place:         r.Place,
		Account:       Account(r.Account),
		State:         BalanceState(r.State),
		Amount:        r.Amount,
		BalanceBefore: r.BalanceBefore,
		BalanceAfter:  r.BalanceAfter,
		Seq:           int64(r.Seq),
		Hash:          r.Hash,
		CreatedAt:     r.CreatedAt.Time,
		Operation:     Operation(r.Operation),
		Reason:        r.Reason,
		EscrowID:      r.EscrowID.UUID,
		QueueItemID:   string(r.QueueItemID),
		FeatureType:   string(r.FeatureType),
		CorrelationID: string(r.CorrelationID),
		RequestID:     string(r.RequestID),
	}

	if r.Metadata != "" {
		e.Metadata = []byte(r.Metadata)
	}

	return e
}

const entriesSQL = `SELECT ` + entryColumns + ` FROM entries e JOIN transactions t ON t.id = e.transaction_id
		WHERE e.account = $1 AND e.seq > $2 AND e.seq < $3 AND ($4 = '' OR t.reason = $4)
		ORDER BY e.seq DESC LIMIT $5`

// listEntries returns entries with after < seq < before, newest first. An empty reason selects all
// entries.
func (s *sqlStore) listEntries(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error) {
	var rows []entryRow
	err := s.db.SelectContext(ctx, &rows, entriesSQL, string(a), after, before, reason, limit)
	return convertRows(rows, (*entryRow).toEntry), err
}

const entriesForwardSQL = `SELECT ` + entryColumns + ` FROM entries e JOIN transactions t ON t.id = e.transaction_id
		WHERE e.account = $1 AND e.seq > $2 AND e.seq < $3 AND ($4 = '' OR t.reason = $4)
		ORDER BY e.seq LIMIT $5`

// listEntriesForward returns the same entries, oldest first.
func (s *sqlStore) listEntriesForward(ctx context.Context, a Account, reason string, after, before int64, limit int) ([]Entry, error) {
	var rows []entryRow
	err := s.db.SelectContext(ctx, &rows, entriesForwardSQL, string(a), after, before, reason, limit)
	return convertRows(rows, (*entryRow).toEntry), err
}

const legColumns = `account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at`

// maxLegs is the maximum number of entries of one account in a transaction.
const maxLegs = 2

// transactionEntriesSQL finds the entries of the parties by (account, seq), and the entry of the
// system account by an index of its own. So the table entries needs no index by transaction.
const transactionEntriesSQL = `SELECT ` + entryColumns + ` FROM (
			SELECT ` + legColumns + ` FROM entries WHERE account = $2 AND seq > $3 AND seq <= $4
			UNION ALL SELECT ` + legColumns + ` FROM entries WHERE account = $5 AND seq > $6 AND seq <= $7
			UNION ALL SELECT ` + legColumns + ` FROM entries WHERE transaction_id = $1 AND seq IS NULL) e
		JOIN transactions t ON t.id = e.transaction_id WHERE e.transaction_id = $1 ORDER BY e.place`

func (s *sqlStore) readTransactionEntries(ctx context.Context, tx *Transaction) ([]Entry, error) {
	var parties [2]Party
	copy(parties[:], tx.Parties)
	arguments := []any{tx.ID}
	for _, p := range parties {
		arguments = append(arguments, string(p.Account), p.Seq-maxLegs, p.Seq)
	}

	var rows []entryRow
	err := s.db.SelectContext(ctx, &rows, transactionEntriesSQL, arguments...)
	return convertRows(rows, (*entryRow).toEntry), err
}

const findEntryUpToSQL = `SELECT seq, transaction_id FROM entries WHERE account = $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1`

// findEntryUpTo returns the position of the account's entry with the largest seq that is not greater
// than the given one. It returns the zero position if there is none.
func (s *sqlStore) findEntryUpTo(ctx context.Context, a Account, seq int64) (entryPosition, error) {
	var p entryPosition
	err := s.db.QueryRowxContext(ctx, findEntryUpToSQL, string(a), seq).Scan(&p.seq, &p.transaction)
	if errors.Is(err, sql.ErrNoRows) {
		return entryPosition{}, nil
	}

	return p, err
}
