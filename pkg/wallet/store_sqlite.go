package wallet

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

const driverSQLite = "sqlite"

// sqliteStore is the store on SQLite, for a single machine.
type sqliteStore struct {
	sqlStore
	reads             sqlStore
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
	insertJournal     *sqlx.Stmt
	insertOutbox      *sqlx.Stmt
	deleteOutbox      *sqlx.Stmt
}

// registerSHA256 adds the function sha256 to SQLite, which a migration needs. Postgres has it.
var registerSHA256 = sync.OnceValue(func() error {
	return sqlite.RegisterDeterministicScalarFunction("sha256", 1, hashSQLiteValue)
})

// hashSQLiteValue returns the SHA-256 hash of a blob.
func hashSQLiteValue(_ *sqlite.FunctionContext, arguments []driver.Value) (driver.Value, error) {
	blob, ok := arguments[0].([]byte)
	if !ok {
		return nil, fmt.Errorf("the argument of sha256 must be a blob; got %T", arguments[0])
	}

	sum := sha256.Sum256(blob)
	return sum[:], nil
}

// sqliteDSN returns the DSN of a file. Commits are durable: SQLite syncs its write-ahead log at
// each commit. A transaction takes the write lock when it begins, so it cannot fail to get the lock
// later. The pragmas are added to those of every connection.
func sqliteDSN(path string, pragmas ...string) string {
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}
	q["_pragma"] = append(q["_pragma"], pragmas...)
	return "file:" + sqlitePath(path) + "?" + q.Encode()
}

// sqlitePath escapes the characters that the path of a URI must not contain.
func sqlitePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// sqliteConns is the number of connections for the commits, the relay and housekeeping. Only one of
// them can write at a time.
const sqliteConns = 4

// openSQLite opens one pool for the commits and the ledger's own work, and one pool for reads. In
// the WAL mode a read does not block a write.
func openSQLite(ctx context.Context, path string, maxReadConns int) (*sqliteStore, error) {
	db, err := openSQLitePool(sqliteDSN(path), sqliteConns)
	if err != nil {
		return nil, err
	}

	readDB, err := openSQLitePool(sqliteDSN(path, "query_only(ON)"), maxReadConns)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}

	s := &sqliteStore{
		sqlStore: sqlStore{db: db},
		reads:    sqlStore{db: readDB},
	}

	err = s.prepareStatements(ctx)
	if err != nil {
		_ = s.close()
		return nil, err
	}

	return s, nil
}

func openSQLitePool(dsn string, maxConns int) (*sqlx.DB, error) {
	db, err := sqlx.Open(driverSQLite, dsn)
	if err != nil {
		return nil, err
	}

	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, nil
}

func (s *sqliteStore) readQueries() *sqlStore { return &s.reads }

// close closes the pools. A connection that can write is closed last, because the last one empties
// the write-ahead log.
func (s *sqliteStore) close() error { return errors.Join(s.reads.close(), s.sqlStore.close()) }

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
		{&s.insertJournal, insertSQL("journal", "transaction_id")},
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

// generation returns 1, because the process keeps the file open.
func (s *sqliteStore) generation() uint64 { return 1 }

// settleJournal returns true, because SQLite has one writer.
func (s *sqliteStore) settleJournal(context.Context, uint64, int64) (bool, error) { return true, nil }

// probeSize is more than what usual batches add to the file.
const probeSize = 64 << 10

// commitProbe also needs free space in the file or on the disk, as a batch does.
func (s *sqliteStore) commitProbe(ctx context.Context) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit

	added, err := tx.ExecContext(ctx, `INSERT INTO outbox (transaction_id) VALUES (CAST(zeroblob($1) AS TEXT))`, probeSize)
	if err != nil {
		return err
	}

	id, err := added.LastInsertId()
	if err != nil {
		return err
	}

	_, err = tx.ExecContext(ctx, `DELETE FROM outbox WHERE id = $1`, id)
	if err != nil {
		return err
	}

	return tx.Commit()
}

func (s *sqliteStore) durability() *proofs { return nil }

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
