package wallet

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // registers the driver
)

const driverSQLite = "sqlite"

// sqliteStore is the store on SQLite, for a single machine.
type sqliteStore struct {
	sqlStore
	selectKey         *sqlx.Stmt
	selectEscrow      *sqlx.Stmt
	selectWallet      *sqlx.Stmt
	insertTransaction *sqlx.Stmt
	insertKey         *sqlx.Stmt
	insertEntry       *sqlx.Stmt
	insertWallet      *sqlx.Stmt
	updateWallet      *sqlx.Stmt
	insertEscrow      *sqlx.Stmt
	updateEscrow      *sqlx.Stmt
	insertExpiry      *sqlx.Stmt
	deleteExpiry      *sqlx.Stmt
	insertOutbox      *sqlx.Stmt
	deleteOutbox      *sqlx.Stmt
}

// sqliteDSN returns the DSN of a file. Commits are durable: SQLite syncs its write-ahead log at
// each commit. A transaction takes the write lock when it begins, so it cannot fail to get the lock
// later.
func sqliteDSN(path string) string {
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}
	return "file:" + sqlitePath(path) + "?" + q.Encode()
}

// sqlitePath escapes the characters that the path of a URI must not contain.
func sqlitePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

func openSQLite(ctx context.Context, path string) (*sqliteStore, error) {
	db, err := sqlx.Open(driverSQLite, sqliteDSN(path))
	if err != nil {
		return nil, err
	}

	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s := &sqliteStore{sqlStore: sqlStore{db: db}}
	err = s.prepareStatements(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}

	return s, nil
}

func (s *sqliteStore) prepareStatements(ctx context.Context) error {
	statements := []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKey, `SELECT i.key AS idempotency_key, i.request_hash, ` + transactionColumns + `
			FROM idempotency_keys i JOIN transactions t ON t.id = i.transaction_id WHERE i.operation = $1 AND i.key = $2`},
		{&s.selectEscrow, escrowSQL},
		{&s.selectWallet, walletSQL},
		{&s.insertTransaction, insertSQL("transactions", columnNames(transactionTable)...)},
		{&s.insertKey, insertSQL("idempotency_keys", "operation", "key", "request_hash", "transaction_id", "created_at") + ` ON CONFLICT DO NOTHING`},
		{&s.insertEntry, insertSQL("entries", columnNames(entryTable)...)},
		{&s.insertWallet, insertSQL("wallets", columnNames(walletTable)...)},
		{&s.updateWallet, `UPDATE wallets SET available = $2, escrow = $3, earned = $4, seq = $5, hash = $6, updated_at = $7 WHERE account = $1`},
		{&s.insertEscrow, insertSQL("escrows", columnNames(openedEscrowTable)...)},
		{&s.updateEscrow, `UPDATE escrows SET status = $2, closed_by = $3, closed_at = $4, model_account = $5, refund_amount = $6, settle_amount = $7
			WHERE id = $1 AND status = 'held'`},
		{&s.insertExpiry, insertSQL("escrow_expiries", "expires_at", "escrow_id")},
		{&s.deleteExpiry, `DELETE FROM escrow_expiries WHERE expires_at = $1 AND escrow_id = $2`},
		{&s.insertOutbox, insertSQL("outbox", "transaction_id")},
		{&s.deleteOutbox, `DELETE FROM outbox WHERE id = $1`},
	}

	for _, statement := range statements {
		var err error
		*statement.stmt, err = s.db.PreparexContext(ctx, statement.sql)
		if err != nil {
			return fmt.Errorf("prepare statement: %w", err)
		}
	}

	return nil
}

// insertSQL returns an INSERT of one row. The parameters are in the order of the columns.
func insertSQL(table string, columns ...string) string {
	placeholders := make([]string, len(columns))
	for i := range columns {
		placeholders[i] = fmt.Sprintf("$%d", i+1)
	}

	return `INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) VALUES (` + strings.Join(placeholders, ", ") + `)`
}

// committerCount returns 1, because SQLite has one writer.
func (s *sqliteStore) committerCount() int { return 1 }

func (s *sqliteStore) optimisticWrites() bool { return false }

// beginBatch begins a transaction. The transaction always takes the write lock of the database.
func (s *sqliteStore) beginBatch(ctx context.Context, _ bool) (batchTx, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}

	return &sqliteTx{store: s, tx: tx}, nil
}

// sqliteTx is the transaction of one batch. It has the write lock from the beginning, so it needs
// no row locks and no other process can write first.
type sqliteTx struct {
	store *sqliteStore
	tx    *sqlx.Tx
}

func (t *sqliteTx) commit() error { return t.tx.Commit() }

func (t *sqliteTx) rollback() { _ = t.tx.Rollback() } // does nothing after a commit

func (t *sqliteTx) readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	arguments := func(ref keyRef) []any { return []any{string(ref.Operation), ref.Key} }
	return selectEach(ctx, t.tx.StmtxContext(ctx, t.store.selectKey), refs, arguments, (*keyRow).toKnownKey)
}

func (t *sqliteTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	arguments := func(id uuid.UUID) []any { return []any{id} }
	return selectEach(ctx, t.tx.StmtxContext(ctx, t.store.selectEscrow), ids, arguments, (*escrowRow).toEscrow)
}

func (t *sqliteTx) readWallets(ctx context.Context, accounts []Account) ([]wallet, error) {
	arguments := func(a Account) []any { return []any{string(a)} }
	return selectEach(ctx, t.tx.StmtxContext(ctx, t.store.selectWallet), accounts, arguments, (*walletRow).toWallet)
}

// selectEach runs the statement for each key and returns the rows.
func selectEach[K, R, T any](
	ctx context.Context, stmt *sqlx.Stmt, keys []K, arguments func(K) []any, convert func(*R) T,
) ([]T, error) {
	found := make([]T, 0, len(keys))
	for _, k := range keys {
		var rows []R
		err := stmt.SelectContext(ctx, &rows, arguments(k)...)
		if err != nil {
			return nil, err
		}

		found = append(found, convertRows(rows, convert)...)
	}

	return found, nil
}

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
