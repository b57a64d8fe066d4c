package testenv_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	_ "github.com/lib/pq"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func openDatabase(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// migrateItems returns a migration that creates a table with one row. It counts its runs.
func migrateItems(runs *atomic.Int64) func(context.Context, string) error {
	return func(ctx context.Context, url string) error {
		runs.Add(1)
		db, err := sql.Open("postgres", url)
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.ExecContext(ctx, `CREATE TABLE items (n bigint PRIMARY KEY); INSERT INTO items VALUES (1)`)
		return err
	}
}

func countItems(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM items`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresMigratesOnceForManyDatabases(t *testing.T) {
	var runs atomic.Int64
	schema := testenv.Schema{Version: t.Name() + t.TempDir(), Migrate: migrateItems(&runs)}
	const tests = 6
	urls := make([]string, tests)
	var wg sync.WaitGroup
	for i := range tests {
		wg.Go(func() { urls[i] = testenv.Postgres(t, schema) })
	}
	wg.Wait()
	if runs.Load() != 1 {
		t.Errorf("migrations: got %d, want 1", runs.Load())
	}
	first := openDatabase(t, urls[0])
	second := openDatabase(t, urls[1])
	if _, err := first.ExecContext(t.Context(), `INSERT INTO items VALUES (2)`); err != nil {
		t.Fatal(err)
	}
	if got := countItems(t, first); got != 2 {
		t.Errorf("rows of the first database: got %d, want 2", got)
	}
	if got := countItems(t, second); got != 1 {
		t.Errorf("rows of the second database: got %d, want the template's 1", got)
	}
}

func TestPostgresDropsADatabaseWithOpenConnections(t *testing.T) {
	var url string
	var db *sql.DB
	t.Run("inner", func(inner *testing.T) {
		url = testenv.Postgres(inner, testenv.Schema{})
		db = openDatabase(t, url)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	err := openDatabase(t, url).PingContext(t.Context())
	if err == nil {
		t.Error("ping after the test: got no error, want the database to be dropped")
	}
}

func TestFailedMigrationLeavesNoTemplate(t *testing.T) {
	version := t.Name() + t.TempDir()
	failing := func(context.Context, string) error { return errors.New("broken on purpose") }
	message := recordFatal(t, func(tb testing.TB) {
		testenv.Postgres(tb, testenv.Schema{Version: version, Migrate: failing})
	})
	if want := "prepare template database: migrate: broken on purpose"; message != want {
		t.Errorf("message: got %q, want %q", message, want)
	}

	var runs atomic.Int64
	url := testenv.Postgres(t, testenv.Schema{Version: version, Migrate: migrateItems(&runs)})
	if got := countItems(t, openDatabase(t, url)); got != 1 {
		t.Errorf("rows after the second migration: got %d, want 1", got)
	}
	if got := runs.Load(); got != 1 {
		t.Errorf("runs of the second migration: got %d, want 1", got)
	}
}

func TestSchemaWithMigrateNeedsAVersion(t *testing.T) {
	message := recordFatal(t, func(tb testing.TB) {
		testenv.Postgres(tb, testenv.Schema{Migrate: func(context.Context, string) error { return nil }})
	})
	if message == "" {
		t.Error("the schema without a version was accepted")
	}
}

func TestHashFSChangesWithNamesAndContents(t *testing.T) {
	base := testenv.HashFS(t, fstest.MapFS{"a/1.sql": {Data: []byte("x")}})
	for name, fsys := range map[string]fstest.MapFS{
		"other content": {"a/1.sql": {Data: []byte("y")}},
		"other name":    {"a/2.sql": {Data: []byte("x")}},
		"another file":  {"a/1.sql": {Data: []byte("x")}, "a/2.sql": {}},
	} {
		t.Run(name, func(t *testing.T) {
			if testenv.HashFS(t, fsys) == base {
				t.Error("got the same hash, want another one")
			}
		})
	}
	if got := testenv.HashFS(t, fstest.MapFS{"a/1.sql": {Data: []byte("x")}}); got != base {
		t.Errorf("hash of the same files: got %s, want %s", got, base)
	}
}
