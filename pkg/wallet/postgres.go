package wallet

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

const driverPostgres = "postgres"

// postgresStore is the store that the product runs on.
type postgresStore struct {
	sqlStore
	selectKeys, lockEscrowRows, lockWalletRows, writeBatch *sqlx.Stmt
	published                                              outboxRows
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
	db, err := sqlx.Open(driverPostgres, dsn)
	if err != nil {
		return nil, err
	}
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
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (s *postgresStore) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKeys, selectKeysSQL}, {&s.lockEscrowRows, lockEscrowsSQL}, {&s.lockWalletRows, lockWalletsSQL}, {&s.writeBatch, writeBatchSQL},
	} {
		var err error
		if *p.stmt, err = s.db.PreparexContext(ctx, p.sql); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return nil
}

func (s *postgresStore) begin(ctx context.Context) (batchTx, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &postgresTx{s: s, tx: tx}, nil
}

// lanes are two: one writes while the other one waits for the disk or is being
// answered. More would make batches smaller, and each has its own price.
func (s *postgresStore) lanes() int { return 2 }

// postgresTx is one batch's transaction.
type postgresTx struct {
	s  *postgresStore
	tx *sqlx.Tx
}

func (t *postgresTx) commit() error { return t.tx.Commit() }

func (t *postgresTx) rollback() { _ = t.tx.Rollback() } // after a commit it does nothing

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

func (r *keyRow) known() knownKey {
	k := knownKey{keyRef: keyRef{Operation(r.Operation), r.Key}, tx: r.transaction()}
	copy(k.hash[:], r.Hash)
	return k
}

func (t *postgresTx) keys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	var operations, keys array
	for _, r := range refs {
		operations.text(string(r.Operation))
		keys.text(r.Key)
	}
	var rows []keyRow
	err := t.tx.StmtxContext(ctx, t.s.selectKeys).SelectContext(ctx, &rows, operations.value(), keys.value())
	return convert(rows, (*keyRow).known), err
}

const lockEscrowsSQL = `SELECT ` + escrowColumns + ` FROM escrows WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE`

func (t *postgresTx) lockEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	var a array
	for _, id := range ids {
		a.uuid(id)
	}
	var rows []escrowRow
	err := t.tx.StmtxContext(ctx, t.s.lockEscrowRows).SelectContext(ctx, &rows, a.value())
	return convert(rows, (*escrowRow).escrow), err
}

const lockWalletsSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account = ANY($1::text[]) ORDER BY account FOR UPDATE`

func (t *postgresTx) lockWallets(ctx context.Context, accounts []Account) ([]wallet, error) {
	var a array
	for _, account := range accounts {
		a.text(string(account))
	}
	rows, err := t.tx.StmtxContext(ctx, t.s.lockWalletRows).QueryContext(ctx, a.value())
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
		w.UpdatedAt = updated.Time.UTC()
		out = append(out, w)
	}
	return out, rows.Err()
}
