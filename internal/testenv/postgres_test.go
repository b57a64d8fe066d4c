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

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// migrateThings makes a table with one row and counts its runs.
func migrateThings(runs *atomic.Int64) func(context.Context, string) error {
	return func(ctx context.Context, url string) error {
		runs.Add(1)
		db, err := sql.Open("postgres", url)
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.ExecContext(ctx, `CREATE TABLE things (n bigint PRIMARY KEY); INSERT INTO things VALUES (1)`)
		return err
	}
}

func count(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM things`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresMigratesOnceAndGivesEachTestItsOwn(t *testing.T) {
	var runs atomic.Int64
	schema := testenv.Schema{Version: t.Name() + t.TempDir(), Migrate: migrateThings(&runs)}
	const tests = 6
	urls := make([]string, tests)
	var wg sync.WaitGroup
	for i := range tests {
		wg.Go(func() { urls[i] = testenv.Postgres(t, schema) })
	}
	wg.Wait()
	if runs.Load() != 1 {
		t.Errorf("migrated %d times, want once", runs.Load())
	}
	first, second := open(t, urls[0]), open(t, urls[1])
	if _, err := first.ExecContext(t.Context(), `INSERT INTO things VALUES (2)`); err != nil {
		t.Fatal(err)
	}
	if got := count(t, first); got != 2 {
		t.Errorf("first database has %d rows, want 2", got)
	}
	if got := count(t, second); got != 1 {
		t.Errorf("second database has %d rows, want the template's 1", got)
	}
}

func TestPostgresDropsTheDatabaseThoughAConnectionIsOpen(t *testing.T) {
	var url string
	var db *sql.DB
	t.Run("inner", func(inner *testing.T) {
		url = testenv.Postgres(inner, testenv.Schema{})
		db = open(t, url)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if err := open(t, url).PingContext(t.Context()); err == nil {
		t.Error("the database is still there after its test")
	}
}

func TestPostgresFailedMigrationLeavesNoTemplate(t *testing.T) {
	version := t.Name() + t.TempDir()
	failing := func(context.Context, string) error { return errors.New("broken on purpose") }
	message := fatalOf(t, func(tb testing.TB) {
		testenv.Postgres(tb, testenv.Schema{Version: version, Migrate: failing})
	})
	if message != "prepare template database: migrate: broken on purpose" {
		t.Errorf("ended with %q", message)
	}
	var runs atomic.Int64
	url := testenv.Postgres(t, testenv.Schema{Version: version, Migrate: migrateThings(&runs)})
	if got := count(t, open(t, url)); got != 1 || runs.Load() != 1 {
		t.Errorf("after a failed migration: %d rows, %d runs, want 1 and 1", got, runs.Load())
	}
}

func TestPostgresWantsAVersion(t *testing.T) {
	message := fatalOf(t, func(tb testing.TB) {
		testenv.Postgres(tb, testenv.Schema{Migrate: func(context.Context, string) error { return nil }})
	})
	if message == "" {
		t.Error("accepted a schema without a version")
	}
}

func TestHashFSChangesWithNamesAndContents(t *testing.T) {
	base := testenv.HashFS(t, fstest.MapFS{"a/1.sql": {Data: []byte("x")}})
	for name, fsys := range map[string]fstest.MapFS{
		"content": {"a/1.sql": {Data: []byte("y")}},
		"name":    {"a/2.sql": {Data: []byte("x")}},
		"more":    {"a/1.sql": {Data: []byte("x")}, "a/2.sql": {}},
	} {
		if testenv.HashFS(t, fsys) == base {
			t.Errorf("%s: same hash", name)
		}
	}
	if testenv.HashFS(t, fstest.MapFS{"a/1.sql": {Data: []byte("x")}}) != base {
		t.Error("the same files hash differently")
	}
}
