package testenv

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
)

// Backup is a copy of a test's database. Its methods end the test if they fail.
type Backup struct {
	t        testing.TB
	original string // name of the copied database
	name     string // name of the copy
}

// BackUpPostgres copies the database of a URL that Postgres returned. The copy has all commits that
// returned before the call. Postgres copies a database only while nobody uses it, so all
// connections are ended, and new ones are refused for some milliseconds.
func BackUpPostgres(t testing.TB, databaseURL string) *Backup {
	t.Helper()

	parsed, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("parse the database URL: %v", err)
	}

	b := &Backup{t: t, original: strings.TrimPrefix(parsed.Path, "/"), name: "testenv_" + uniqueSuffix()}
	server := requireEnv(t, "TEST_DATABASE_URL")
	b.withServer(func(ctx context.Context, admin *sql.DB) error {
		err := closeDatabase(ctx, admin, b.original)
		if err != nil {
			return err
		}

		err = createDatabase(ctx, admin, b.name, b.original)
		if err != nil {
			return err
		}

		return allowConnections(ctx, admin, b.original, true)
	})

	t.Cleanup(func() { dropDatabase(t, server, b.name) })
	return b
}

// Restore puts the copy in place of the database, as a failover to an older state does. All
// connections are ended, and programs that connect again get the copy. It may be called once.
func (b *Backup) Restore() {
	b.t.Helper()

	server := requireEnv(b.t, "TEST_DATABASE_URL")
	replaced := "testenv_" + uniqueSuffix()
	b.withServer(func(ctx context.Context, admin *sql.DB) error {
		err := closeDatabase(ctx, admin, b.original)
		if err != nil {
			return err
		}

		err = renameDatabase(ctx, admin, b.original, replaced)
		if err != nil {
			return err
		}

		return renameDatabase(ctx, admin, b.name, b.original)
	})

	b.t.Cleanup(func() { dropDatabase(b.t, server, replaced) })
}

// withServer calls the function with a connection to the server.
func (b *Backup) withServer(call func(context.Context, *sql.DB) error) {
	b.t.Helper()

	ctx, cancel := context.WithTimeout(b.t.Context(), 2*timeout)
	defer cancel()

	admin, err := sql.Open("postgres", requireEnv(b.t, "TEST_DATABASE_URL"))
	if err != nil {
		b.t.Fatalf("open TEST_DATABASE_URL: %v", err)
	}
	defer admin.Close()

	err = call(ctx, admin)
	if err != nil {
		b.t.Fatalf("back up or restore %s: %v", b.original, err)
	}
}

// closeDatabase refuses new connections to a database and ends all existing ones.
func closeDatabase(ctx context.Context, admin *sql.DB, name string) error {
	err := allowConnections(ctx, admin, name, false)
	if err != nil {
		return err
	}

	tick := time.NewTicker(pollInterval)
	defer tick.Stop()

	for {
		var connections int
		err := admin.QueryRowContext(ctx,
			`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1`, name).Scan(&connections)
		if err != nil {
			return fmt.Errorf("end the connections to %s: %w", name, err)
		}

		if connections == 0 {
			return nil
		}

		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections to %s remain: %w", connections, name, ctx.Err())
		}
	}
}

func allowConnections(ctx context.Context, admin *sql.DB, name string, allowed bool) error {
	_, err := admin.ExecContext(ctx, fmt.Sprintf(`ALTER DATABASE %s ALLOW_CONNECTIONS %t`, pq.QuoteIdentifier(name), allowed))
	if err != nil {
		return fmt.Errorf("allow connections to %s (%t): %w", name, allowed, err)
	}

	return nil
}

func renameDatabase(ctx context.Context, admin *sql.DB, from, to string) error {
	_, err := admin.ExecContext(ctx, `ALTER DATABASE `+pq.QuoteIdentifier(from)+` RENAME TO `+pq.QuoteIdentifier(to))
	if err != nil {
		return fmt.Errorf("rename %s: %w", from, err)
	}

	return nil
}
