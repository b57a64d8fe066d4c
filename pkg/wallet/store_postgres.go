package wallet

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const driverPostgres = "postgres"

// postgresStore is the store for production.
type postgresStore struct {
	sqlStore
	selectKeys                 *sqlx.Stmt
	selectEscrows, lockEscrows *sqlx.Stmt
	selectWallets, lockWallets *sqlx.Stmt
	writes                     preparedWrites
	published                  publishedRows
}

// connectionSettings apply to every connection unless the URL says otherwise.
//
// A plan is made once and must not depend on the tables' contents at that time. A statement that
// was prepared while its table was empty would keep a sequential scan or a hash join over the whole
// table. With those off, a generic plan always uses the index. Planning the batch statement anew
// each time, which would take a quarter of Postgres' time, is then not needed.
var connectionSettings = map[string]string{
	"application_name":                    "realtime-core",
	"connect_timeout":                     "5",
	"plan_cache_mode":                     "force_generic_plan",
	"enable_seqscan":                      "off",
	"enable_hashjoin":                     "off",
	"enable_mergejoin":                    "off",
	"jit":                                 "off",
	"max_parallel_workers_per_gather":     "0", // a generic plan assumes that a third of a large table is read
	"statement_timeout":                   "8000",
	"lock_timeout":                        "5000",
	"idle_in_transaction_session_timeout": "10000",
}

func openPostgres(ctx context.Context, dsn string, maxConns int) (*postgresStore, error) {
	dsn, err := withSettings(dsn, connectionSettings)
	if err != nil {
		return nil, err
	}

	db := sqlx.NewDb(sql.OpenDB(connector{dsn}), driverPostgres)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s := &postgresStore{sqlStore: sqlStore{db: db}}
	err = s.prepareStatements(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}

	return s, nil
}

// connector marks the errors of connecting, so that isRetryable can tell them from those of
// statements.
type connector struct{ dsn string }

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := pq.Open(c.dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	return conn, nil
}

// Driver implements driver.Connector.
func (connector) Driver() driver.Driver { return &pq.Driver{} }

// withSettings adds those settings to the URL that it does not have.
func withSettings(dsn string, settings map[string]string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errMalformedURL
	}

	q := u.Query()
	for name, value := range settings {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}

	q.Set("binary_parameters", "yes") // pgArray needs it
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (s *postgresStore) prepareStatements(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKeys, selectKeysSQL},
		{&s.selectEscrows, selectEscrowsSQL},
		{&s.lockEscrows, selectEscrowsSQL + forUpdate},
		{&s.selectWallets, selectWalletsSQL},
		{&s.lockWallets, selectWalletsSQL + forUpdate},
	} {
		var err error
		*p.stmt, err = s.db.PreparexContext(ctx, p.sql)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}

	if _, err := s.writes.prepareShape(ctx, s.db, fullShape); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}

	return nil
}

// begin begins nothing if the batch is not locked: its write is one statement, which commits
// itself.
func (s *postgresStore) beginBatch(ctx context.Context, locked bool) (batchTx, error) {
	if !locked {
		return &postgresTx{store: s}, nil
	}
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &postgresTx{store: s, tx: tx}, nil
}

func (s *postgresStore) optimisticWrites() bool { return true }

// committers returns two: one writes while the other one waits for the disk or its callers are
// being answered. More would make batches smaller, and each batch has a fixed cost.
func (s *postgresStore) committerCount() int { return 2 }

// postgresTx is one batch's transaction.
type postgresTx struct {
	store *postgresStore
	tx    *sqlx.Tx // nil: nothing is locked, and writeBatch commits
}

func (t *postgresTx) commit() error {
	if t.tx == nil {
		return nil
	}
	return t.tx.Commit()
}

func (t *postgresTx) rollback() {
	if t.tx != nil {
		_ = t.tx.Rollback() // after a commit it does nothing
	}
}

// choose returns the statement for this transaction.
func (t *postgresTx) chooseStatement(ctx context.Context, locking, alone *sqlx.Stmt) *sqlx.Stmt {
	if t.tx == nil {
		return alone
	}
	return t.tx.StmtxContext(ctx, locking)
}

// The prepared statements look their rows up one by one. LATERAL … OFFSET 0 keeps the planner from
// turning the join around. While a table's statistics say that it is empty,
// it would do so and read the whole table in each batch until the next ANALYZE.

const selectKeysSQL = `SELECT i.key AS idempotency_key, i.request_hash, ` + transactionColumns + `
	FROM unnest($1::text[], $2::text[]) AS u(operation, key),
		LATERAL (SELECT key, request_hash, transaction_id FROM idempotency_keys WHERE operation = u.operation AND key = u.key OFFSET 0) AS i,
		LATERAL (SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id = i.transaction_id OFFSET 0) AS t`

type keyRow struct {
	Key  string `db:"idempotency_key"`
	Hash []byte `db:"request_hash"`
	transactionRow
}

func (r *keyRow) toKnownKey() knownKey {
	k := knownKey{keyRef: keyRef{Operation(r.Operation), r.Key}, tx: r.toTransaction()}
	copy(k.hash[:], r.Hash)
	return k
}

func (t *postgresTx) readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	operations := newPgArray(pgText)
	keys := newPgArray(pgText)
	for _, ref := range refs {
		operations.appendText(string(ref.Operation))
		keys.appendText(ref.Key)
	}

	stmt := t.tx.StmtxContext(ctx, t.store.selectKeys)
	var rows []keyRow
	err := stmt.SelectContext(ctx, &rows, operations.encode(), keys.encode())
	return convertRows(rows, (*keyRow).toKnownKey), err
}

const (
	selectEscrowsSQL = `SELECT ` + escrowColumns + ` FROM escrows WHERE id = ANY($1::uuid[]) ORDER BY id`
	selectWalletsSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account = ANY($1::text[]) ORDER BY account`
	forUpdate        = ` FOR UPDATE`
)

func (t *postgresTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	array := newPgArray(pgUUID)
	for _, id := range ids {
		array.appendUUID(id)
	}
	stmt := t.chooseStatement(ctx, t.store.lockEscrows, t.store.selectEscrows) //nolint:sqlclosecheck // is kept, or closed with the transaction
	var rows []escrowRow
	err := stmt.SelectContext(ctx, &rows, array.encode())
	return convertRows(rows, (*escrowRow).toEscrow), err
}

// readWallets scans without reflection, since every batch that misses the cache reads its wallets.
func (t *postgresTx) readWallets(ctx context.Context, accounts []Account) ([]wallet, error) {
	array := newPgArray(pgText)
	for _, account := range accounts {
		array.appendText(string(account))
	}

	stmt := t.chooseStatement(ctx, t.store.lockWallets, t.store.selectWallets)
	rows, err := stmt.QueryContext(ctx, array.encode())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	wallets := make([]wallet, 0, len(accounts))
	for rows.Next() {
		var w wallet
		var updatedAt sql.NullTime
		err := rows.Scan((*string)(&w.Account), &w.Available, &w.Escrow, &w.Earned, &w.Seq, &w.Hash, &updatedAt)
		if err != nil {
			return nil, err
		}

		w.UpdatedAt = updatedAt.Time.UTC()
		w.hashBefore = w.Hash
		wallets = append(wallets, w)
	}

	return wallets, rows.Err()
}
