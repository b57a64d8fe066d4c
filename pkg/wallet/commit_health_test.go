package wallet

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite/vfs"
)

// TestSQLiteWithoutSpaceIsUnavailable fills a file up to its limit, and raises the limit later.
func TestSQLiteWithoutSpaceIsUnavailable(t *testing.T) {
	t.Parallel()
	l, log := runLedgerWithLog(t, newSQLiteDatabase(t))
	mustDoBatch(t, l, []Op{newCredit("user:u", 1, "first")})
	setOnAllConnections(t, l, `PRAGMA max_page_count = 1`) // SQLite uses the current size
	failures := doUntilUnavailable(t, l, 3)
	checkRefusedWrites(t, l, log, failures, "database or disk is full")

	setOnAllConnections(t, l, `PRAGMA max_page_count = 1000000`)
	checkAcceptedWrites(t, l, log)
}

// TestReadOnlySQLiteIsUnavailable makes the connections read-only for a while.
func TestReadOnlySQLiteIsUnavailable(t *testing.T) {
	t.Parallel()
	l, log := runLedgerWithLog(t, newSQLiteDatabase(t))
	setOnAllConnections(t, l, `PRAGMA query_only = ON`)
	failures := doUntilUnavailable(t, l, 3)
	checkRefusedWrites(t, l, log, failures, "attempt to write a readonly database")

	setOnAllConnections(t, l, `PRAGMA query_only = OFF`)
	checkAcceptedWrites(t, l, log)
}

// TestFileErrorsOfSQLiteAreUnavailable uses a file that cannot be read, and a missing directory.
func TestFileErrorsOfSQLiteAreUnavailable(t *testing.T) {
	t.Parallel()
	name, files, err := vfs.New(unreadableFS{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	for test, dsn := range map[string]string{
		"I/O error":         "file:ledger.db?vfs=" + name,
		"missing directory": sqliteDSN(t.TempDir() + "/gone/ledger.db"),
	} {
		t.Run(test, func(t *testing.T) {
			db, err := sql.Open(driverSQLite, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			_, err = db.ExecContext(t.Context(), `SELECT count(*) FROM sqlite_master`)
			if !isRetryable(err) || !isLasting(err) {
				t.Errorf("the error must be a lasting outage; got: %v", err)
			}
		})
	}
}

// TestPostgresThatRefusesConnectionsIsUnavailable takes the right to connect from the ledger's role.
func TestPostgresThatRefusesConnectionsIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := newPostgresDatabase(t)
	name := nameDatabase(t, dsn)
	db := openTestDatabase(t, dsn)
	role := createRole(t, db, name)
	l, log := runLedgerWithLog(t, strings.Replace(dsn, "postgres@", role+":x@", 1))
	mustDoBatch(t, l, []Op{newCredit("user:u", 1, "first")})

	mustExec(t, db, `REVOKE CONNECT ON DATABASE `+name+` FROM PUBLIC`)
	mustExec(t, db, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '`+role+`'`)
	failures := doUntilUnavailable(t, l, 1)
	checkRefusedWrites(t, l, log, failures, "permission denied for database")

	mustExec(t, db, `GRANT CONNECT ON DATABASE `+name+` TO PUBLIC`)
	checkAcceptedWrites(t, l, log)
}

// createRole creates a role with all rights to the tables of a database, and the password x.
func createRole(t *testing.T, db *sqlx.DB, database string) string {
	t.Helper()
	role := "role_" + database
	mustExec(t, db, `CREATE ROLE `+role+` LOGIN PASSWORD 'x'`)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.WithoutCancel(t.Context()), `DROP OWNED BY `+role+`; DROP ROLE `+role)
		checkError(t, "drop role", err, nil)
	})
	mustExec(t, db, `GRANT ALL ON ALL TABLES IN SCHEMA public TO `+role)
	mustExec(t, db, `GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO `+role)
	return role
}

// unreadableFS has files that cannot be read.
type unreadableFS struct{}

func (unreadableFS) Open(name string) (fs.File, error) {
	f, err := fstest.MapFS{name: {Data: make([]byte, 4096)}}.Open(name)
	return unreadableFile{f}, err
}

type unreadableFile struct{ fs.File }

func (unreadableFile) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// runLedgerWithLog runs a ledger and returns its log.
func runLedgerWithLog(t *testing.T, url string) (*Ledger, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	l, err := Open(t.Context(), url, Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	runUntilCleanup(t, l)
	return l, log
}

// logBuffer holds log lines.
type logBuffer struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.Write(line)
}

// count returns the number of lines with a text.
func (b *logBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.lines.String(), text)
}

// setOnAllConnections runs a statement on each connection of commits.
func setOnAllConnections(t *testing.T, l *Ledger, statement string) {
	t.Helper()
	db := l.store.sharedQueries().db
	var conns []*sql.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range db.Stats().MaxOpenConnections {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		_, err = conn.ExecContext(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// doUntilUnavailable does operations until some of them failed, and returns the errors.
func doUntilUnavailable(t *testing.T, l *Ledger, want int) (failures []error) {
	t.Helper()
	for i := range 10_000 {
		_, err := l.Do(t.Context(), newCredit("user:u", 1, fmt.Sprint("fill", i)))
		if err != nil {
			failures = append(failures, err)
		}
		if len(failures) == want {
			return failures
		}
	}
	t.Fatal("no operation has failed")
	return nil
}

// checkRefusedWrites checks the errors of operations, the health and the log while writes fail.
func checkRefusedWrites(t *testing.T, l *Ledger, log *logBuffer, failures []error, reason string) {
	t.Helper()
	for _, err := range failures {
		checkError(t, "operation", err, ErrUnavailable)
		checkMentions(t, err, reason)
	}
	waitForPing(t, l, reason)
	checkEqual(t, "lines about failed batches", log.count("committing a batch failed"), 1)
}

// checkAcceptedWrites checks the health and the log after the cause has gone.
func checkAcceptedWrites(t *testing.T, l *Ledger, log *logBuffer) {
	t.Helper()
	waitForPing(t, l, "")
	mustDoBatch(t, l, []Op{newCredit("user:u", 1, "last")})
	checkEqual(t, "lines about recovery", log.count("batches are committed again"), 1)
	checkLedger(t, l)
}

func TestFailuresThatGoOnAreLoggedOnceAMinute(t *testing.T) {
	log := &logBuffer{}
	h := newWriteHealth(slog.New(slog.NewTextHandler(log, nil)))
	h.logLimit.Interval = time.Nanosecond
	h.noteFailure(2, errors.New("cause"))
	h.logLimit.Interval = time.Hour
	for range 5 {
		h.noteFailure(2, errors.New("cause"))
	}
	checkEqual(t, "lines", log.count("committing a batch failed"), 1)
	h.logLimit.Interval = time.Nanosecond
	h.noteFailure(2, errors.New("cause"))
	checkEqual(t, "lines about all failures since", log.count("failures=6"), 1)
	h.noteSuccess()
	h.noteSuccess()
	checkEqual(t, "lines about recovery", log.count("batches are committed again"), 1)
}
