package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

const driverPostgres = "postgres"

// postgresStore is the store on Postgres, for production.
type postgresStore struct {
	sqlStore
	reads         sqlStore
	health        sqlStore
	selectKeys    *sqlx.Stmt
	selectEscrows *sqlx.Stmt
	lockEscrows   *sqlx.Stmt
	selectWallets *sqlx.Stmt
	lockWallets   *sqlx.Stmt
	writes        preparedWrites
	published     publishedRows
	server        pgconn.Server
	proofs        *proofs
	emptyCommits  emptyCommits
	gaps          journalGaps
}

// connectionSettings are the settings of every connection. The URL may override them.
//
// Postgres makes one plan for each statement, and the plan must not depend on the contents of the
// tables at that time. A statement that was prepared while its table was empty would always scan
// the whole table, or use a hash join. The settings disable these plans, so that a generic plan
// always uses the index. Without the generic plan, Postgres would plan the batch statement for
// every batch, which takes a quarter of its time.
//
// The end of a query's context closes the connection. The server must not notice that before the
// end of a write, which may wait for its standby: the commit would become visible, and a failover
// would lose it. So client_connection_check_interval is 0.
var connectionSettings = map[string]string{
	"application_name":                    "realtime-core",
	"client_connection_check_interval":    "0",
	"plan_cache_mode":                     "force_generic_plan",
	"enable_seqscan":                      "off",
	"enable_hashjoin":                     "off",
	"enable_mergejoin":                    "off",
	"jit":                                 "off",
	"max_parallel_workers_per_gather":     "0", // a generic plan assumes a read of a third of the table
	"statement_timeout":                   "8000",
	"lock_timeout":                        "5000",
	"idle_in_transaction_session_timeout": "10000",
	"idle_session_timeout":                "0", // an idle pool is no fault
	"transaction_timeout":                 "0", // each statement has its own limit
	"default_transaction_isolation":       "read committed",
}

// roundTripLimit is a bit more than statement_timeout. It ends the wait for a silent server, and the
// wait of a commit for the server's standby.
const roundTripLimit = 8500 * time.Millisecond

// readSettings are the settings that differ on the connections of reads. The server ends a read whose
// client has gone. Versions before 14 cannot; statement_timeout ends their reads.
var readSettings = map[string]string{
	"application_name":                 "realtime-core-reads",
	"client_connection_check_interval": "500ms",
	"default_transaction_read_only":    "on",
}

// healthSettings are the settings that differ on the connections of health checks.
var healthSettings = map[string]string{"application_name": "realtime-core-health"}

// Health checks have their own connections, so that they never wait behind a silent one. A second
// one serves a check while the first one waits for its limit.
const (
	maxHealthConns = 2
	healthLimit    = time.Second
)

// openPostgres opens one pool for the commits and the ledger's own work, one pool for reads, and one
// for health checks.
func openPostgres(ctx context.Context, databaseURL string, cfg Config) (*postgresStore, error) {
	target, err := pgconn.ParseURL(databaseURL)
	if err != nil {
		return nil, err
	}

	s := &postgresStore{}
	s.gaps.listWriters = s.listJournalWriters
	writes := s.newConnector(target, nil)
	writes.Role = pgconn.Writable
	reads := s.newConnector(target, readSettings)
	reads.Role = pgconn.Primary
	health := s.newConnector(target, healthSettings)
	health.RoundTrip = healthLimit
	health.IsProbe = true
	if cfg.OnlyRead {
		writes.Role = pgconn.AnyServer
		reads.Role = pgconn.AnyServer
	}

	s.sqlStore = sqlStore{db: openPool(writes, cfg.MaxConns)}
	s.reads = sqlStore{db: openPool(reads, cfg.MaxReadConns)}
	s.health = sqlStore{db: openPool(health, maxHealthConns)}
	s.openProofs(target)

	err = s.prepareStatements(ctx)
	if err != nil {
		_ = s.close()
		return nil, err
	}

	return s, nil
}

// newConnector returns a connector of one pool with connectionSettings, except for other settings.
// A connection of any pool notices another database for all of them.
func (s *postgresStore) newConnector(target *pgconn.Target, other map[string]string) *pgconn.Connector {
	settings := maps.Clone(connectionSettings)
	maps.Copy(settings, other)
	return &pgconn.Connector{
		Target:    target,
		Server:    &s.server,
		Settings:  settings,
		RoundTrip: roundTripLimit,
	}
}

// openPool returns a pool of connections to Postgres. It does not connect.
func openPool(connector *pgconn.Connector, maxConns int) *sqlx.DB {
	db := sqlx.NewDb(sql.OpenDB(connector), driverPostgres)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

func (s *postgresStore) readQueries() *sqlStore { return &s.reads }

// ping checks that the database answers and that it can be written.
func (s *postgresStore) ping(ctx context.Context) error {
	var inRecovery, readOnly string
	err := s.health.db.QueryRowxContext(ctx, pgconn.RoleQuery).Scan(&inRecovery, &readOnly)
	if err != nil {
		return err
	}

	return pgconn.CheckRole(pgconn.Writable, inRecovery, readOnly)
}

func (s *postgresStore) close() error {
	s.proofs.close()
	return errors.Join(s.sqlStore.close(), s.reads.close(), s.health.close(), s.emptyCommits.store.close())
}

func (s *postgresStore) prepareStatements(ctx context.Context) error {
	statements := []struct {
		stmt **sqlx.Stmt
		sql  string
	}{
		{&s.selectKeys, selectKeysSQL},
		{&s.selectEscrows, selectEscrowsSQL},
		{&s.lockEscrows, selectEscrowsSQL + forUpdate},
		{&s.selectWallets, selectWalletsSQL},
		{&s.lockWallets, selectWalletsSQL + forUpdate},
	}

	for _, statement := range statements {
		var err error
		*statement.stmt, err = s.db.PreparexContext(ctx, statement.sql)
		if err != nil {
			return fmt.Errorf("prepare statement: %w", err)
		}
	}

	_, err := s.writes.prepareShape(ctx, s.db, fullShape)
	if err != nil {
		return fmt.Errorf("prepare write statement: %w", err)
	}

	return nil
}

// beginBatch begins a transaction only if the batch is locked. Without locks the write is a single
// statement, which commits itself.
func (s *postgresStore) beginBatch(ctx context.Context, locked bool) (batchTx, error) {
	generation := s.generation()
	if !locked {
		return &postgresTx{store: s, generation: generation}, nil
	}

	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}

	return &postgresTx{store: s, generation: generation, tx: tx}, nil
}

func (s *postgresStore) optimisticWrites() bool { return true }

func (s *postgresStore) generation() uint64 { return s.server.Generation() }

// committerCount returns 2. One committer writes while the other one waits for the disk or sends
// its results. More committers would make the batches smaller, and each batch has a fixed cost.
func (s *postgresStore) committerCount() int { return 2 }

// postgresTx is the transaction of one batch.
type postgresTx struct {
	store      *postgresStore
	generation uint64   // of the store when the batch began
	tx         *sqlx.Tx // nil if the batch is not locked; then writeBatch commits
}

func (t *postgresTx) commit() error {
	if t.tx == nil {
		return nil
	}

	return t.tx.Commit()
}

func (t *postgresTx) rollback() {
	if t.tx != nil {
		_ = t.tx.Rollback() // does nothing after a commit
	}
}

// chooseStatement returns locking, bound to the transaction, or alone if there is no transaction.
func (t *postgresTx) chooseStatement(ctx context.Context, locking, alone *sqlx.Stmt) *sqlx.Stmt {
	if t.tx == nil {
		return alone
	}

	return t.tx.StmtxContext(ctx, locking)
}

// The prepared statements read their rows one by one through the index. LATERAL … OFFSET 0 keeps
// the planner from reversing the join. If the statistics of a table say that it is empty, the
// planner would reverse the join, and each batch would read the whole table until the next ANALYZE.

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
	k := knownKey{
		keyRef: keyRef{
			Operation: Operation(r.Operation),
			Key:       r.Key,
		},
		tx: r.toTransaction(),
	}

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

	stmt := t.chooseStatement(ctx, t.store.lockEscrows, t.store.selectEscrows) //nolint:sqlclosecheck // kept, or closed with the transaction
	var rows []escrowRow
	err := stmt.SelectContext(ctx, &rows, array.encode())
	return convertRows(rows, (*escrowRow).toEscrow), err
}

// readWallets scans its rows without reflection, because it runs for every batch with a wallet that
// is not in the cache.
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
