package pgconn_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortLimit is the limit of a round trip in tests that wait for it. It is longer than a round trip
// takes on a busy machine.
const shortLimit = 3 * time.Second

// patience bounds every wait.
const patience = 5 * time.Minute

// noLimit is the limit of a round trip in tests that are not about it.
const noLimit = time.Duration(0)

// openPool returns a pool whose connections have the settings that the ledger needs.
func openPool(t *testing.T, databaseURL string, server *pgconn.Server, limit time.Duration) *sql.DB {
	t.Helper()
	target, err := pgconn.ParseURL(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	connector := &pgconn.Connector{
		Target:    target,
		Server:    server,
		RoundTrip: limit,
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newDatabase(t *testing.T) string {
	t.Helper()
	return testenv.Postgres(t, testenv.Schema{})
}

// openThroughProxy returns a pool that reaches a fresh database through a proxy.
func openThroughProxy(t *testing.T, limit time.Duration) (*sql.DB, *testenv.Proxy) {
	t.Helper()
	databaseURL := newDatabase(t)
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	u.Host = proxy.Addr()
	return openPool(t, u.String(), &pgconn.Server{}, limit), proxy
}

type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readPID(t *testing.T, q rowQuerier) (pid int) {
	t.Helper()
	err := q.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func mustExec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
}

func checkCode(t *testing.T, what string, err error, want pqerror.Code) {
	t.Helper()
	var pe *pq.Error
	if !errors.As(err, &pe) || pe.Code != want {
		t.Errorf("%s: got %v, want SQLSTATE %s", what, err, want)
	}
}

// TestConnectionsToAnEarlierDatabaseAreNotUsedAgain has two pools of connections to one Server.
// When one of them reaches another database, the other one must not use its idle connection, and
// must not keep its busy one.
func TestConnectionsToAnEarlierDatabaseAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	server := &pgconn.Server{}
	first := openPool(t, newDatabase(t), server, noLimit)
	second := openPool(t, newDatabase(t), server, noLimit)
	busy, err := first.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idlePID := readPID(t, first)
	busyPID := readPID(t, busy)
	if readPID(t, first) != idlePID || server.Generation() != 1 {
		t.Fatalf("generation %d of the first database: want 1 and a connection that is used again", server.Generation())
	}

	readPID(t, second)
	if server.Generation() != 2 || readPID(t, busy) != busyPID {
		t.Errorf("generation %d of the second database: want 2 and a busy connection that stays", server.Generation())
	}
	err = busy.Close()
	if err != nil {
		t.Fatal(err)
	}
	if first.Stats().Idle != 1 {
		t.Errorf("connections that are kept: got %d, want 1", first.Stats().Idle)
	}
	pid := readPID(t, first) // reaches the first database again
	if pid == idlePID || pid == busyPID {
		t.Errorf("got the pid %d of an earlier connection, want a new one", pid)
	}
	if server.Generation() != 3 {
		t.Errorf("generation of the first database again: got %d, want 3", server.Generation())
	}
}

// TestSilenceEndsCalls makes all connections silent for ever. The call that waits gets an error after
// the limit, and the other connections are thrown away, too: the next call opens a new one.
func TestSilenceEndsCalls(t *testing.T) {
	t.Parallel()
	const limit = shortLimit
	db, proxy := openThroughProxy(t, limit)
	openIdleConnections(t, db, 3)

	proxy.SilenceLinks()
	start := time.Now()
	_, err := db.ExecContext(t.Context(), `SELECT 1`)
	took := time.Since(start)
	var silence *pgconn.SilenceError
	if !errors.As(err, &silence) || took < limit || took > patience {
		t.Fatalf("statement of a silent server: got %v after %v, want a SilenceError after %v", err, took, limit)
	}
	mustExec(t, db, `SELECT 1`)
	if opened := db.Stats().OpenConnections; opened != 1 {
		t.Errorf("connections after the silence: got %d, want the new one", opened)
	}
}

// openIdleConnections opens connections and leaves them idle.
func openIdleConnections(t *testing.T, db *sql.DB, count int) {
	t.Helper()
	var conns []*sql.Conn
	for range count {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		readPID(t, conn)
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// TestSilenceEndsEveryKindOfCall makes a connection silent before each kind of call.
func TestSilenceEndsEveryKindOfCall(t *testing.T) {
	t.Parallel()
	calls := map[string]func(ctx context.Context, conn *sql.Conn, tx *sql.Tx, stmt *sql.Stmt) error{
		"ping": func(ctx context.Context, conn *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error { return conn.PingContext(ctx) },
		"begin": func(ctx context.Context, conn *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error {
			_, err := conn.BeginTx(ctx, nil)
			return err
		},
		"commit":   func(_ context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error { return tx.Commit() },
		"rollback": func(_ context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error { return tx.Rollback() },
		"prepare": func(ctx context.Context, conn *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error {
			_, err := conn.PrepareContext(ctx, `SELECT 2`)
			return err
		},
		"statement": func(ctx context.Context, _ *sql.Conn, _ *sql.Tx, stmt *sql.Stmt) error {
			var n int
			return stmt.QueryRowContext(ctx).Scan(&n)
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, proxy := openThroughProxy(t, shortLimit)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stmt, err := conn.PrepareContext(t.Context(), `SELECT 1`)
			if err != nil {
				t.Fatal(err)
			}
			var tx *sql.Tx
			if name == "commit" || name == "rollback" {
				tx, err = conn.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
			}

			proxy.PauseRequests()
			err = call(t.Context(), conn, tx, stmt)
			if err == nil {
				t.Error("call of a silent server: got no error")
			}
			if conn.PingContext(t.Context()) == nil {
				t.Error("the silent connection is used again")
			}
		})
	}
}

// TestIdleConnectionsAndLongTransactionsHaveNoLimit waits for longer than the limit of a round trip:
// between two statements, and in a statement of a transaction without a limit.
func TestIdleConnectionsAndLongTransactionsHaveNoLimit(t *testing.T) {
	t.Parallel()
	databaseURL := newDatabase(t)
	db := openPool(t, databaseURL, &pgconn.Server{}, shortLimit)
	other := openPool(t, databaseURL, &pgconn.Server{}, noLimit)
	pid := readPID(t, db)
	mustExec(t, other, `SELECT pg_sleep(3.5)`)
	if again := readPID(t, db); again != pid {
		t.Errorf("pid after the connection was idle: got %d, want %d", again, pid)
	}

	tx, err := db.BeginTx(pgconn.WithoutLimit(t.Context()), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), `SELECT pg_sleep(3.5)`)
	if err != nil {
		t.Fatalf("slow statement without a limit: %v", err)
	}
	err = tx.Rollback()
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `SELECT pg_sleep(60)`)
	var silence *pgconn.SilenceError
	if !errors.As(err, &silence) {
		t.Errorf("slow statement with a limit: got %v, want a SilenceError", err)
	}
}

// TestLimitFollowsTheStatementTimeout allows statements more time in the URL.
func TestLimitFollowsTheStatementTimeout(t *testing.T) {
	t.Parallel()
	db := openPool(t, newDatabase(t)+"&statement_timeout=1min", &pgconn.Server{}, shortLimit)
	mustExec(t, db, `SELECT pg_sleep(3.5)`)
}

// TestRefusedSettingsAreNamed has a URL with a setting that the server does not know.
func TestRefusedSettingsAreNamed(t *testing.T) {
	t.Parallel()
	db := openPool(t, newDatabase(t)+"&pool_mode=session", &pgconn.Server{}, noLimit)
	err := db.PingContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "pool_mode") || !strings.Contains(err.Error(), "database URL") {
		t.Errorf("connect with an unknown setting: got %v, want an error that names it and the URL", err)
	}
}

// TestSettingsMustBeInForce has a pool whose sessions have other settings than asked for, as behind a
// proxy that does not pass them on.
func TestSettingsMustBeInForce(t *testing.T) {
	t.Parallel()
	target, err := pgconn.ParseURL(newDatabase(t) + "&lock_timeout=7s")
	if err != nil {
		t.Fatal(err)
	}
	asked := &pgconn.Connector{
		Target:   target,
		Server:   &pgconn.Server{},
		Settings: map[string]string{"statement_timeout": "2000", "lock_timeout": "1000", "unknown_setting": "on"},
	}
	db := sql.OpenDB(asked)
	t.Cleanup(func() { _ = db.Close() })
	err = pgconn.CheckSessions(t.Context(), db, asked)
	if err != nil {
		t.Errorf("settings in force, one of them from the URL: %v", err)
	}

	other := *asked
	other.Settings = map[string]string{"statement_timeout": "3000"}
	err = pgconn.CheckSessions(t.Context(), db, &other)
	if !errors.Is(err, pgconn.ErrSettings) || !strings.Contains(err.Error(), "statement_timeout is 2s, not 3s") {
		t.Errorf("settings not in force: got %v, want ErrSettings with the values", err)
	}
}

// TestTheEndOfAContextCancelsNothing ends the context of a write while the server works on it. The
// write must go on in the server, because it may already wait for a standby.
func TestTheEndOfAContextCancelsNothing(t *testing.T) {
	t.Parallel()
	writes := map[string]func(ctx context.Context, db *sql.DB) error{
		"statement": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, `INSERT INTO done SELECT 1 FROM pg_advisory_xact_lock(1)`)
			return err
		},
		"query": func(ctx context.Context, db *sql.DB) error {
			var n int
			return db.QueryRowContext(ctx, `INSERT INTO done SELECT $1::int FROM pg_advisory_xact_lock(1) RETURNING n`, 1).Scan(&n)
		},
		"prepared statement": func(ctx context.Context, db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, `INSERT INTO done SELECT 1 FROM pg_advisory_xact_lock(1) RETURNING n`)
			if err != nil {
				return err
			}
			defer stmt.Close()
			var n int
			return stmt.QueryRowContext(ctx).Scan(&n)
		},
		"commit": func(ctx context.Context, db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO done_at_commit VALUES (1)`)
			if err != nil {
				return err
			}
			return tx.Commit()
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &pgconn.Server{}
			db := openPool(t, newDatabase(t), server, noLimit)
			mustExec(t, db, `CREATE TABLE done (n int)`)
			mustExec(t, db, `CREATE TABLE done_at_commit (n int)`)
			mustExec(t, db, `CREATE FUNCTION finish() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN PERFORM pg_advisory_xact_lock(1); INSERT INTO done VALUES (1); RETURN NULL; END'`)
			mustExec(t, db, `CREATE CONSTRAINT TRIGGER finish AFTER INSERT ON done_at_commit
				DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION finish()`)
			if !server.LastLoss().IsZero() {
				t.Error("LastLoss without a loss: want the zero time")
			}
			lock, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = lock.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(1)`)
			if err != nil {
				t.Fatal(err)
			}

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			written := make(chan error, 1)
			go func() { written <- write(ctx, db) }()
			waitForCount(t, db, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
			cancel()
			err = <-written
			if !errors.Is(err, context.Canceled) {
				t.Errorf("write at the end of its context: got %v, want its error", err)
			}
			if server.LastLoss().IsZero() {
				t.Error("LastLoss after a write without an answer: got the zero time")
			}
			err = lock.Rollback()
			if err != nil {
				t.Fatal(err)
			}
			waitForCount(t, db, `SELECT count(*) FROM done`)
		})
	}
}

// waitForCount waits until a query counts at least one row.
func waitForCount(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for rows := 0; rows == 0; {
		err := db.QueryRowContext(ctx, query).Scan(&rows)
		if err != nil {
			t.Fatalf("wait for a row of %s: %v", query, err)
		}
	}
}

// TestReadOnlyIsNotOverridden freezes the database for writes while a connection is open. No
// transaction may override that, and the connection is thrown away.
func TestReadOnlyIsNotOverridden(t *testing.T) {
	t.Parallel()
	db := openPool(t, newDatabase(t), &pgconn.Server{}, noLimit)
	mustExec(t, db, `CREATE TABLE written (n int)`)
	mustExec(t, db, `SET default_transaction_read_only = on`)
	pid := readPID(t, db)

	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.ExecContext(t.Context(), `INSERT INTO written VALUES (1)`)
	checkCode(t, "insert while the database is read-only", err, "25006")
	_ = tx.Rollback()
	if readPID(t, db) == pid {
		t.Error("the connection is used again after it could not write")
	}
}

// TestStatementsUnknownToTheServerEndTheConnection deallocates a prepared statement, as a pooler
// does in effect when it gives the session to another client.
func TestStatementsUnknownToTheServerEndTheConnection(t *testing.T) {
	t.Parallel()
	db := openPool(t, newDatabase(t), &pgconn.Server{}, noLimit)
	stmt, err := db.PrepareContext(t.Context(), `SELECT pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	pid := readPID(t, db)
	mustExec(t, db, `DEALLOCATE ALL`)
	var again int
	err = stmt.QueryRowContext(t.Context()).Scan(&again)
	checkCode(t, "statement that the server does not know", err, "26000")
	err = stmt.QueryRowContext(t.Context()).Scan(&again)
	if err != nil || again == pid {
		t.Errorf("the statement after that: got %v on the backend %d, want none on another backend", err, again)
	}
}

// TestAlteredTablesEndAllConnections alters the type of a column that a statement returns. The sessions
// that have prepared the statement cannot use it again.
func TestAlteredTablesEndAllConnections(t *testing.T) {
	t.Parallel()
	db := openPool(t, newDatabase(t), &pgconn.Server{}, noLimit)
	mustExec(t, db, `CREATE TABLE altered AS SELECT 'x'::text AS name`)
	stmt, err := db.PrepareContext(t.Context(), `SELECT name FROM altered`)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	useOnTwoConnections(t, db, stmt)

	mustExec(t, db, `ALTER TABLE altered ALTER COLUMN name TYPE varchar(10)`)
	var name string
	err = stmt.QueryRowContext(t.Context()).Scan(&name)
	checkCode(t, "first use of the statement", err, "0A000")
	err = stmt.QueryRowContext(t.Context()).Scan(&name)
	if err != nil || name != "x" {
		t.Errorf("second use of the statement: got %q and error %v, want x", name, err)
	}
}

// useOnTwoConnections runs a statement on two connections, which are idle afterwards.
func useOnTwoConnections(t *testing.T, db *sql.DB, stmt *sql.Stmt) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	readName(t, tx.StmtContext(t.Context(), stmt))
	readName(t, stmt)
}

func readName(t *testing.T, stmt *sql.Stmt) {
	t.Helper()
	var name string
	err := stmt.QueryRowContext(t.Context()).Scan(&name)
	if err != nil {
		t.Fatal(err)
	}
}
