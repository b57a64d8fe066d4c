package wallet

import (
	"context"

	"github.com/google/uuid"
)

// On SQLite the outbox has one row for each transaction. One row for each batch, as in
// store_postgres_outbox.go, would not be faster with a single writer.

const outboxSQL = `SELECT o.id AS outbox_id, ` + transactionColumns + ` FROM
		(SELECT id, transaction_id FROM outbox WHERE id > $1 ORDER BY id LIMIT $2) o
		JOIN transactions t ON t.id = o.transaction_id ORDER BY o.id`

func (s *sqliteStore) listOutboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	var stored []struct {
		OutboxID int64 `db:"outbox_id"`
		transactionRow
	}

	err := s.db.SelectContext(ctx, &stored, outboxSQL, after, limit)
	rows := make([]outboxRow, len(stored))
	for i := range stored {
		rows[i] = outboxRow{
			id: stored[i].OutboxID,
			tx: stored[i].toTransaction(),
		}
	}

	return rows, err
}

func (s *sqliteStore) measureBacklog(ctx context.Context) (int64, uuid.UUID, error) {
	var r struct {
		Rows   int64         `db:"n"`
		Oldest uuid.NullUUID `db:"oldest"`
	}

	err := s.db.GetContext(ctx, &r, `SELECT (SELECT count(*) FROM outbox) AS n, (SELECT transaction_id FROM outbox ORDER BY id LIMIT 1) AS oldest`)
	return r.Rows, r.Oldest.UUID, err
}

func (s *sqliteStore) deleteOutboxRows(ctx context.Context, ids []int64) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit

	stmt := tx.StmtxContext(ctx, s.deleteOutbox)
	for _, id := range ids {
		_, err := stmt.ExecContext(ctx, id)
		if err != nil {
			return err
		}
	}

	return tx.Commit()
}
