package wallet

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

func (t *sqliteTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
	w := sqliteWriter{
		ctx:   ctx,
		tx:    t.tx,
		store: t.store,
	}

	outboxIDs := make([]int64, 0, len(m.transactions))
	for i := range m.transactions {
		tx := &m.transactions[i]
		w.writeTransaction(tx)
		w.writeKey(m.keys[i], m.hashes[i][:], tx)
		w.execStatement(w.store.insertJournal, tx.ID)
		outboxIDs = append(outboxIDs, w.writeOutbox(tx))
	}

	for _, changed := range m.wallets {
		w.writeWallet(changed)
	}

	for _, e := range m.opened {
		w.writeOpenedEscrow(e)
	}

	for _, e := range m.closed {
		w.writeClosedEscrow(e)
	}

	return outboxIDs, w.err
}

// sqliteWriter runs the statements of one writeBatch. After the first error its methods do nothing.
type sqliteWriter struct {
	ctx   context.Context // the ctx of writeBatch
	tx    *sqlx.Tx
	store *sqliteStore
	err   error
}

// execStatement returns nil after an error.
func (w *sqliteWriter) execStatement(stmt *sqlx.Stmt, args ...any) sql.Result {
	if w.err != nil {
		return nil
	}

	var r sql.Result
	r, w.err = w.tx.StmtxContext(w.ctx, stmt).ExecContext(w.ctx, args...)
	return r
}

// writeTransaction writes a transaction and its entries. The arguments are in the order of
// transactionTable and entryTable.
func (w *sqliteWriter) writeTransaction(tx *Transaction) {
	var userAccount, userSeq, userAvailable, userEscrow any
	var modelAccount, modelSeq, modelEarned any
	user, model := tx.splitParties()
	if user != nil {
		userAccount = string(user.Account)
		userSeq = user.Seq
		userAvailable = user.Available
		userEscrow = user.Escrow
	}

	if model != nil {
		modelAccount = string(model.Account)
		modelSeq = model.Seq
		modelEarned = model.Earned
	}

	w.execStatement(
		w.store.insertTransaction,
		tx.ID,
		string(tx.Operation),
		tx.Amount,
		tx.RefundAmount,
		tx.SettleAmount,
		tx.Reason,
		uuid.NullUUID{UUID: tx.EscrowID, Valid: tx.EscrowID != uuid.Nil},
		nullText(tx.QueueItemID),
		nullText(tx.FeatureType),
		nullText(tx.CorrelationID),
		nullText(tx.RequestID),
		nullText(string(tx.Metadata)),
		userAccount,
		userSeq,
		userAvailable,
		userEscrow,
		modelAccount,
		modelSeq,
		modelEarned,
		tx.CreatedAt.UnixMilli(),
		[]byte(tx.chains),
	)

	for i := range tx.Entries {
		e := &tx.Entries[i]
		w.execStatement(
			w.store.insertEntry,
			string(e.Account),
			sql.NullInt64{Int64: e.Seq, Valid: e.State != StateSystem},
			e.TransactionID,
			e.Place,
			string(e.State),
			e.Amount,
			e.BalanceBefore,
			e.BalanceAfter,
			e.Hash,
			e.CreatedAt.UnixMilli(),
		)
	}
}

// writeKey writes an idempotency key. It fails with errConflict if the key was used before.
func (w *sqliteWriter) writeKey(ref keyRef, requestHash []byte, tx *Transaction) {
	r := w.execStatement(w.store.insertKey, string(ref.Operation), ref.Key, requestHash, tx.ID, tx.CreatedAt.UnixMilli())
	if r == nil {
		return
	}

	added, err := r.RowsAffected()
	if err != nil || added == 0 {
		w.err = cmp.Or(err, errConflict)
	}
}

// writeOutbox adds a transaction to the outbox and returns the id of the new row.
func (w *sqliteWriter) writeOutbox(tx *Transaction) int64 {
	r := w.execStatement(w.store.insertOutbox, tx.ID)
	if r == nil {
		return 0
	}

	var id int64
	id, w.err = r.LastInsertId()
	return id
}

// writeWallet inserts or updates a wallet. The arguments are in the order of walletTable.
func (w *sqliteWriter) writeWallet(changed *wallet) {
	stmt := w.store.updateWallet
	if changed.created {
		stmt = w.store.insertWallet
	}

	w.execStatement(
		stmt,
		string(changed.Account),
		changed.Available,
		changed.Escrow,
		changed.Earned,
		changed.Seq,
		changed.Hash,
		changed.UpdatedAt.UnixMilli(),
	)
}

// writeOpenedEscrow inserts an escrow. The arguments are in the order of openedEscrowTable.
func (w *sqliteWriter) writeOpenedEscrow(e *Escrow) {
	w.execStatement(
		w.store.insertEscrow,
		e.ID,
		string(e.User),
		e.Amount,
		string(e.Status),
		e.Reason,
		e.QueueItemID,
		e.FeatureType,
		e.HeldBy,
		e.CreatedAt.UnixMilli(),
		nullMillis(e.ExpiresAt),
	)

	if !e.ExpiresAt.IsZero() {
		w.execStatement(w.store.insertExpiry, e.ExpiresAt.UnixMilli(), e.ID)
	}
}

func (w *sqliteWriter) writeClosedEscrow(e *Escrow) {
	w.execStatement(
		w.store.updateEscrow,
		e.ID,
		string(e.Status),
		e.ClosedBy,
		e.ClosedAt.UnixMilli(),
		nullText(string(e.Model)),
		e.RefundAmount,
		e.SettleAmount,
	)

	if !e.ExpiresAt.IsZero() {
		w.execStatement(w.store.deleteExpiry, e.ExpiresAt.UnixMilli(), e.ID)
	}
}

// nullText returns NULL for the empty string.
func nullText(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// nullMillis returns NULL for the zero time.
func nullMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}
