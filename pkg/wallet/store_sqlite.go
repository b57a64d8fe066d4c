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
	_ "modernc.org/sqlite" // the driver
)

const driverSQLite = "sqlite"

// sqliteStore is the embedded store for one machine.
type sqliteStore struct {
	sqlStore
	selectKey      *sqlx.Stmt
	selectEscrow   *sqlx.Stmt
	selectWallet   *sqlx.Stmt
	addTransaction *sqlx.Stmt
	addKey         *sqlx.Stmt
	addEntry       *sqlx.Stmt
	addWallet      *sqlx.Stmt
	changeWallet   *sqlx.Stmt
	addEscrow      *sqlx.Stmt
	closeEscrow    *sqlx.Stmt
	addExpiry      *sqlx.Stmt
	deleteExpiry   *sqlx.Stmt
	addOutbox      *sqlx.Stmt
	deleteFromBox  *sqlx.Stmt
}

// sqliteDSN opens a file durably: with a write-ahead log that is synced at each commit.
// Transactions take the write lock when they begin, so that none has to give up half way.
func sqliteDSN(path string) string {
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}
	return "file:" + sqlitePath(path) + "?" + q.Encode()
}

// sqlitePath escapes what a URI's path must not have.
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
	for _, p := range []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKey, `SELECT i.key AS idempotency_key, i.request_hash, ` + transactionColumns + `
			FROM idempotency_keys i JOIN transactions t ON t.id = i.transaction_id WHERE i.operation = $1 AND i.key = $2`},
		{&s.selectEscrow, escrowSQL},
		{&s.selectWallet, walletSQL},
		{&s.addTransaction, insertSQL("transactions", columnNames(transactionTable)...)},
		{&s.addKey, insertSQL("idempotency_keys", "operation", "key", "request_hash", "transaction_id", "created_at") + ` ON CONFLICT DO NOTHING`},
		{&s.addEntry, insertSQL("entries", columnNames(entryTable)...)},
		{&s.addWallet, insertSQL("wallets", columnNames(walletTable)...)},
		{&s.changeWallet, `UPDATE wallets SET available = $2, escrow = $3, earned = $4, seq = $5, hash = $6, updated_at = $7 WHERE account = $1`},
		{&s.addEscrow, insertSQL("escrows", columnNames(openedEscrowTable)...)},
		{&s.closeEscrow, `UPDATE escrows SET status = $2, closed_by = $3, closed_at = $4, model_account = $5, refund_amount = $6, settle_amount = $7
			WHERE id = $1 AND status = 'held'`},
		{&s.addExpiry, insertSQL("escrow_expiries", "expires_at", "escrow_id")},
		{&s.deleteExpiry, `DELETE FROM escrow_expiries WHERE expires_at = $1 AND escrow_id = $2`},
		{&s.addOutbox, insertSQL("outbox", "transaction_id")},
		{&s.deleteFromBox, `DELETE FROM outbox WHERE id = $1`},
	} {
		var err error
		*p.stmt, err = s.db.PreparexContext(ctx, p.sql)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}

	return nil
}

// insertSQL inserts one row; the parameters are in the order of the columns.
func insertSQL(table string, columns ...string) string {
	placeholders := make([]string, len(columns))
	for i := range columns {
		placeholders[i] = fmt.Sprintf("$%d", i+1)
	}
	return `INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) VALUES (` + strings.Join(placeholders, ", ") + `)`
}

// committers returns one, since SQLite has one writer.
func (s *sqliteStore) committerCount() int { return 1 }

func (s *sqliteStore) optimisticWrites() bool { return false }

// begin takes the database's only write lock, whether locked or not.
func (s *sqliteStore) beginBatch(ctx context.Context, _ bool) (batchTx, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &sqliteTx{store: s, tx: tx}, nil
}

// sqliteTx is one batch's transaction. It has the write lock from its beginning, so no row needs a
// lock and no other process can be first.
type sqliteTx struct {
	store *sqliteStore
	tx    *sqlx.Tx
}

func (t *sqliteTx) commit() error { return t.tx.Commit() }

func (t *sqliteTx) rollback() { _ = t.tx.Rollback() } // after a commit it does nothing

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

// selectEach reads the row of each key that has one.
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
	w := sqliteWriter{ctx: ctx, tx: t.tx, store: t.store}
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

// sqliteWriter runs statements until one fails. After that its methods do nothing.
type sqliteWriter struct {
	ctx   context.Context // of one writeBatch
	tx    *sqlx.Tx
	store *sqliteStore
	err   error
}

// exec returns nil after a failure.
func (w *sqliteWriter) execStatement(stmt *sqlx.Stmt, args ...any) sql.Result {
	if w.err != nil {
		return nil
	}
	var r sql.Result
	r, w.err = w.tx.StmtxContext(w.ctx, stmt).ExecContext(w.ctx, args...)
	return r
}

// writeTransaction has the columns of transactionTable and entryTable.
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

	w.execStatement(w.store.addTransaction,
		tx.ID, string(tx.Operation), tx.Amount, tx.RefundAmount, tx.SettleAmount, tx.Reason,
		uuid.NullUUID{UUID: tx.EscrowID, Valid: tx.EscrowID != uuid.Nil},
		nullText(tx.QueueItemID), nullText(tx.FeatureType), nullText(tx.CorrelationID), nullText(tx.RequestID),
		nullText(string(tx.Metadata)), userAccount, userSeq, userAvailable, userEscrow, modelAccount, modelSeq, modelEarned,
		tx.CreatedAt.UnixMilli())
	for i := range tx.Entries {
		e := &tx.Entries[i]
		w.execStatement(w.store.addEntry,
			string(e.Account), sql.NullInt64{Int64: e.Seq, Valid: e.State != StateSystem}, e.TransactionID, e.Place,
			string(e.State), e.Amount, e.BalanceBefore, e.BalanceAfter, e.Hash, e.CreatedAt.UnixMilli())
	}
}

// writeKey fails with errConflict if the key was used before.
func (w *sqliteWriter) writeKey(ref keyRef, requestHash []byte, tx *Transaction) {
	r := w.execStatement(w.store.addKey, string(ref.Operation), ref.Key, requestHash, tx.ID, tx.CreatedAt.UnixMilli())
	if r == nil {
		return
	}
	added, err := r.RowsAffected()
	if err != nil || added == 0 {
		w.err = cmp.Or(err, errConflict)
	}
}

// writeOutbox returns the new row's id.
func (w *sqliteWriter) writeOutbox(tx *Transaction) int64 {
	r := w.execStatement(w.store.addOutbox, tx.ID)
	if r == nil {
		return 0
	}
	var id int64
	id, w.err = r.LastInsertId()
	return id
}

// writeWallet has the columns of walletTable.
func (w *sqliteWriter) writeWallet(changed *wallet) {
	stmt := w.store.changeWallet
	if changed.created {
		stmt = w.store.addWallet
	}
	w.execStatement(stmt, string(changed.Account), changed.Available, changed.Escrow, changed.Earned, changed.Seq, changed.Hash,
		changed.UpdatedAt.UnixMilli())
}

// writeOpenedEscrow has the columns of openedEscrowTable.
func (w *sqliteWriter) writeOpenedEscrow(e *Escrow) {
	w.execStatement(w.store.addEscrow, e.ID, string(e.User), e.Amount, string(e.Status), e.Reason, e.QueueItemID, e.FeatureType,
		e.HeldBy, e.CreatedAt.UnixMilli(), nullMillis(e.ExpiresAt))
	if !e.ExpiresAt.IsZero() {
		w.execStatement(w.store.addExpiry, e.ExpiresAt.UnixMilli(), e.ID)
	}
}

func (w *sqliteWriter) writeClosedEscrow(e *Escrow) {
	w.execStatement(w.store.closeEscrow, e.ID, string(e.Status), e.ClosedBy, e.ClosedAt.UnixMilli(), nullText(string(e.Model)),
		e.RefundAmount, e.SettleAmount)
	if !e.ExpiresAt.IsZero() {
		w.execStatement(w.store.deleteExpiry, e.ExpiresAt.UnixMilli(), e.ID)
	}
}

func nullText(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func nullMillis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}
