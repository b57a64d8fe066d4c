package wallet

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // the driver
)

const driverSQLite = "sqlite"

// sqliteStore is the embedded store for one machine.
type sqliteStore struct {
	sqlStore
	selectKey, selectEscrow, selectWallet                          *sqlx.Stmt
	addTransaction, addKey, addEntry, addWallet, changeWallet      *sqlx.Stmt
	addEscrow, endEscrow, addExpiry, dropExpiry, addBox, deleteBox *sqlx.Stmt
}

// sqliteDSN opens a file durably: write-ahead log, synced at each commit.
// Transactions take the write lock when they begin, so that they never have to
// give up half way.
func sqliteDSN(path string) string {
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}
	return "file:" + sqlitePath(path) + "?" + q.Encode()
}

// sqlitePath escapes what a path may not hold in a URI.
func sqlitePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

func openSQLite(ctx context.Context, path string) (*sqliteStore, error) {
	db, err := sqlx.Open(driverSQLite, sqliteDSN(path))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s := &sqliteStore{sqlStore: sqlStore{db: db}}
	for _, p := range []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKey, `SELECT i.key AS idempotency_key, i.request_hash, ` + transactionColumns + `
			FROM idempotency_keys i JOIN transactions t ON t.id = i.transaction_id WHERE i.operation = $1 AND i.key = $2`},
		{&s.selectEscrow, `SELECT ` + escrowColumns + ` FROM escrows WHERE id = $1`},
		{&s.selectWallet, `SELECT ` + walletColumns + ` FROM wallets WHERE account = $1`},
		{&s.addTransaction, `INSERT INTO transactions (id, operation, amount, refund_amount, settle_amount, reason, escrow_id,
			queue_item_id, feature_type, correlation_id, request_id, metadata, user_account, user_seq, user_available, user_escrow,
			model_account, model_seq, model_earned, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`},
		{&s.addKey, `INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT DO NOTHING`},
		{&s.addEntry, `INSERT INTO entries (account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`},
		{&s.addWallet, `INSERT INTO wallets (account, available, escrow, earned, seq, hash, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
		{&s.changeWallet, `UPDATE wallets SET available = $2, escrow = $3, earned = $4, seq = $5, hash = $6, updated_at = $7 WHERE account = $1`},
		{&s.addEscrow, `INSERT INTO escrows (id, user_account, amount, status, reason, queue_item_id, feature_type, held_by, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`},
		{&s.endEscrow, `UPDATE escrows SET status = $2, closed_by = $3, closed_at = $4, model_account = $5, refund_amount = $6, settle_amount = $7
			WHERE id = $1 AND status = 'held'`},
		{&s.addExpiry, `INSERT INTO escrow_expiries (expires_at, escrow_id) VALUES ($1, $2)`},
		{&s.dropExpiry, `DELETE FROM escrow_expiries WHERE expires_at = $1 AND escrow_id = $2`},
		{&s.addBox, `INSERT INTO outbox (transaction_id) VALUES ($1)`},
		{&s.deleteBox, `DELETE FROM outbox WHERE id = $1`},
	} {
		if *p.stmt, err = db.PreparexContext(ctx, p.sql); err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	return s, nil
}

func (s *sqliteStore) committers() int { return 1 } // it has one writer

func (s *sqliteStore) optimisticWrites() bool { return false }

func (s *sqliteStore) begin(ctx context.Context, _ bool) (batchTx, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &sqliteTx{s: s, tx: tx}, nil
}

// sqliteTx is one batch's transaction. It holds the database's only write lock
// from its beginning, so nothing needs to be locked row by row and nobody can be
// first in between.
type sqliteTx struct {
	s  *sqliteStore
	tx *sqlx.Tx
}

func (t *sqliteTx) commit() error { return t.tx.Commit() }

func (t *sqliteTx) rollback() { _ = t.tx.Rollback() } // after a commit it does nothing

func (t *sqliteTx) readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	return lookUp(ctx, t.tx.StmtxContext(ctx, t.s.selectKey), refs,
		func(r keyRef) []any { return []any{string(r.Operation), r.Key} }, (*keyRow).toKnownKey)
}

func (t *sqliteTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	return lookUp(ctx, t.tx.StmtxContext(ctx, t.s.selectEscrow), ids,
		func(id uuid.UUID) []any { return []any{id} }, (*escrowRow).toEscrow)
}

func (t *sqliteTx) readWallets(ctx context.Context, accounts []Account) ([]wallet, error) {
	return lookUp(ctx, t.tx.StmtxContext(ctx, t.s.selectWallet), accounts,
		func(a Account) []any { return []any{string(a)} }, (*walletRow).toWallet)
}

// lookUp reads a row for each key that has one.
func lookUp[K, R, T any](ctx context.Context, stmt *sqlx.Stmt, keys []K, args func(K) []any, f func(*R) T) ([]T, error) {
	out := make([]T, 0, len(keys))
	for _, k := range keys {
		var rows []R
		if err := stmt.SelectContext(ctx, &rows, args(k)...); err != nil {
			return nil, err
		}
		out = append(out, convertRows(rows, f)...)
	}
	return out, nil
}

func (t *sqliteTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
	w := sqliteWriter{ctx: ctx, tx: t.tx}
	ids := make([]int64, 0, len(m.transactions))
	for i := range m.transactions {
		tx := &m.transactions[i]
		w.transaction(t.s, tx)
		r := w.exec(t.s.addKey, string(m.keys[i].Operation), m.keys[i].Key, m.hashes[i][:], tx.ID, tx.CreatedAt.UnixMilli())
		if r != nil {
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				return nil, cmp.Or(err, errConflict)
			}
		}
		if r = w.exec(t.s.addBox, tx.ID); r != nil {
			id, err := r.LastInsertId()
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	for _, x := range m.wallets {
		stmt := t.s.changeWallet
		if x.created {
			stmt = t.s.addWallet
		}
		w.exec(stmt, string(x.Account), x.Available, x.Escrow, x.Earned, x.Seq, x.Hash, x.UpdatedAt.UnixMilli())
	}
	for _, e := range m.opened {
		w.exec(t.s.addEscrow, e.ID, string(e.User), e.Amount, string(e.Status), e.Reason, e.QueueItemID, e.FeatureType, e.HeldBy,
			e.CreatedAt.UnixMilli(), millisOrNull(e.ExpiresAt))
		if !e.ExpiresAt.IsZero() {
			w.exec(t.s.addExpiry, e.ExpiresAt.UnixMilli(), e.ID)
		}
	}
	for _, e := range m.ended {
		w.exec(t.s.endEscrow, e.ID, string(e.Status), e.ClosedBy, e.ClosedAt.UnixMilli(), nullText(string(e.Model)), e.RefundAmount, e.SettleAmount)
		if !e.ExpiresAt.IsZero() {
			w.exec(t.s.dropExpiry, e.ExpiresAt.UnixMilli(), e.ID)
		}
	}
	return ids, w.err
}

// sqliteWriter runs statements until one fails.
type sqliteWriter struct {
	ctx context.Context // of one write call
	tx  *sqlx.Tx
	err error
}

func (w *sqliteWriter) exec(stmt *sqlx.Stmt, args ...any) sql.Result {
	if w.err != nil {
		return nil
	}
	r, err := w.tx.StmtxContext(w.ctx, stmt).ExecContext(w.ctx, args...)
	w.err = err
	return r
}

func (w *sqliteWriter) transaction(s *sqliteStore, tx *Transaction) {
	var user, model [4]any
	u, m := tx.sides()
	if u != nil {
		user = [4]any{string(u.Account), u.Seq, u.Available, u.Escrow}
	}
	if m != nil {
		model = [4]any{string(m.Account), m.Seq, m.Earned}
	}
	escrow := uuid.NullUUID{UUID: tx.EscrowID, Valid: tx.EscrowID != uuid.Nil}
	w.exec(s.addTransaction, tx.ID, string(tx.Operation), tx.Amount, tx.RefundAmount, tx.SettleAmount, tx.Reason, escrow,
		nullText(tx.QueueItemID), nullText(tx.FeatureType), nullText(tx.CorrelationID), nullText(tx.RequestID), nullText(string(tx.Metadata)),
		user[0], user[1], user[2], user[3], model[0], model[1], model[2], tx.CreatedAt.UnixMilli())
	for i := range tx.Entries {
		e := &tx.Entries[i]
		seq := sql.NullInt64{Int64: e.Seq, Valid: e.State != StateSystem}
		w.exec(s.addEntry, string(e.Account), seq, e.TransactionID, e.Place, string(e.State), e.Amount, e.BalanceBefore, e.BalanceAfter,
			e.Hash, e.CreatedAt.UnixMilli())
	}
}

func nullText(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func millisOrNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}
