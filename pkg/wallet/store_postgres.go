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

// postgresStore is the store that the product runs on.
type postgresStore struct {
	sqlStore
	selectKeys                 *sqlx.Stmt
	selectEscrows, lockEscrows *sqlx.Stmt
	selectWallets, lockWallets *sqlx.Stmt
	writes                     preparedWrites
	published                  publishedRows
}

// connectionSettings go with every connection unless the URL says otherwise.
//
// Plans are made once and must not depend on what the tables held then: a
// statement prepared while its table was empty, or whose month has just begun,
// would keep a sequential scan or a hash join over everything. With those off, a
// generic plan is always the index's, and planning the batch statement anew each
// time, which costs a quarter of Postgres' time, is not needed.
var connectionSettings = map[string]string{
	"application_name":                    "realtime-core",
	"connect_timeout":                     "5",
	"plan_cache_mode":                     "force_generic_plan",
	"enable_seqscan":                      "off",
	"enable_hashjoin":                     "off",
	"enable_mergejoin":                    "off",
	"jit":                                 "off",
	"max_parallel_workers_per_gather":     "0", // a generic plan takes a minute of a large table for a third of it
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
	if err := s.prepare(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

// connector makes connections whose failures retryable can tell from those of statements.
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
	for k, v := range settings {
		if !q.Has(k) {
			q.Set(k, v)
		}
	}
	q.Set("binary_parameters", "yes") // arrays are sent so
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (s *postgresStore) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKeys, selectKeysSQL},
		{&s.selectEscrows, selectEscrowsSQL}, {&s.lockEscrows, selectEscrowsSQL + forUpdate},
		{&s.selectWallets, selectWalletsSQL}, {&s.lockWallets, selectWalletsSQL + forUpdate},
	} {
		var err error
		if *p.stmt, err = s.db.PreparexContext(ctx, p.sql); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	if _, err := s.writes.get(ctx, s.db, fullShape); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}

// begin of a batch that is not careful begins nothing: its write is one statement, which commits itself.
func (s *postgresStore) begin(ctx context.Context, careful bool) (batchTx, error) {
	if !careful {
		return &postgresTx{s: s}, nil
	}
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &postgresTx{s: s, tx: tx}, nil
}

func (s *postgresStore) optimisticWrites() bool { return true }

// lanes are two: one writes while the other one waits for the disk or is being
// answered. More would make batches smaller, and each has its own price.
func (s *postgresStore) committers() int { return 2 }

// postgresTx is one batch's transaction.
type postgresTx struct {
	s  *postgresStore
	tx *sqlx.Tx // nil: nothing is locked, and write commits
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

// stmt is the statement in the batch's transaction: the first in a careful one, which locks.
func (t *postgresTx) stmt(ctx context.Context, locking, alone *sqlx.Stmt) *sqlx.Stmt {
	if t.tx == nil {
		return alone
	}
	return t.tx.StmtxContext(ctx, locking)
}

// The statements that are prepared look their rows up one by one whatever the
// planner believes: behind LATERAL … OFFSET 0 it cannot turn the join around. It
// would while a table's statistics say that it is empty, and go through the whole
// table in each batch until the next ANALYZE.

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
	for _, r := range refs {
		operations.appendText(string(r.Operation))
		keys.appendText(r.Key)
	}
	var rows []keyRow
	err := t.tx.StmtxContext(ctx, t.s.selectKeys).SelectContext(ctx, &rows, operations.encode(), keys.encode())
	return convertRows(rows, (*keyRow).toKnownKey), err
}

const (
	selectEscrowsSQL = `SELECT ` + escrowColumns + ` FROM escrows WHERE id = ANY($1::uuid[]) ORDER BY id`
	selectWalletsSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account = ANY($1::text[]) ORDER BY account`
	forUpdate        = ` FOR UPDATE`
)

func (t *postgresTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	a := newPgArray(pgUUID)
	for _, id := range ids {
		a.appendUUID(id)
	}
	var rows []escrowRow
	err := t.stmt(ctx, t.s.lockEscrows, t.s.selectEscrows).SelectContext(ctx, &rows, a.encode()) //nolint:sqlclosecheck // prepared for good, or the end of the transaction closes it
	return convertRows(rows, (*escrowRow).toEscrow), err
}

func (t *postgresTx) readWallets(ctx context.Context, accounts []Account) ([]wallet, error) {
	a := newPgArray(pgText)
	for _, account := range accounts {
		a.appendText(string(account))
	}
	rows, err := t.stmt(ctx, t.s.lockWallets, t.s.selectWallets).QueryContext(ctx, a.encode())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := make([]wallet, 0, len(accounts))
	for rows.Next() {
		var w wallet
		var updated sql.NullTime
		if err := rows.Scan((*string)(&w.Account), &w.Available, &w.Escrow, &w.Earned, &w.Seq, &w.Hash, &updated); err != nil {
			return nil, err
		}
		w.UpdatedAt, w.hashBefore = updated.Time.UTC(), w.Hash
		out = append(out, w)
	}
	return out, rows.Err()
}
