package testenv

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"testing"

	"github.com/lib/pq"
)

// Schema describes the contents of a fresh database. The zero Schema is an empty database.
type Schema struct {
	// Version identifies the result of Migrate. All databases of one version are copies of one
	// template, also across test processes. HashFS of the migration files is a good version.
	// Required when Migrate is set.
	Version string

	// Migrate fills the empty database at url. It runs once per server and version, and must have
	// closed its connections when it returns. Nil leaves the database empty.
	Migrate func(ctx context.Context, url string) error
}

// Postgres creates a database for this test and returns its URL. It drops the database when the
// test ends, also if connections are open. A copy of a migrated template takes about 30 ms.
func Postgres(t testing.TB, schema Schema) string {
	t.Helper()

	if schema.Migrate != nil && schema.Version == "" {
		t.Fatal("testenv.Postgres: a schema with Migrate needs a Version")
	}

	server := requireEnv(t, "TEST_DATABASE_URL")
	ctx, cancel := context.WithTimeout(t.Context(), 2*timeout)
	defer cancel()

	admin, err := sql.Open("postgres", server)
	if err != nil {
		t.Fatalf("open TEST_DATABASE_URL: %v", err)
	}
	defer admin.Close()

	template := "template1"
	if schema.Migrate != nil {
		sum := sha256.Sum256([]byte(schema.Version))
		template = "testenv_template_" + hex.EncodeToString(sum[:10])
		err := ensureTemplate(ctx, admin, server, template, schema.Migrate)
		if err != nil {
			t.Fatalf("prepare template database: %v", err)
		}
	}

	name := "testenv_" + uniqueSuffix()
	err = createDatabase(ctx, admin, name, template)
	if err != nil {
		t.Fatalf("create database for the test: %v", err)
	}

	t.Cleanup(func() { dropDatabase(t, server, name) })
	return databaseURL(t, server, name)
}

// HashFS returns a hash over the names and contents of all files of fsys, for Schema.Version.
func HashFS(t testing.TB, fsys fs.FS) string {
	t.Helper()

	hash := sha256.New()
	err := fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}

		content, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}

		_, err = fmt.Fprintf(hash, "%q %d\n%s", path, len(content), content)
		return err
	})

	if err != nil {
		t.Fatalf("hash files: %v", err)
	}

	return hex.EncodeToString(hash.Sum(nil))
}

// ensureTemplate creates the template database if it does not exist. An advisory lock lets one
// process build it while the others wait.
func ensureTemplate(
	ctx context.Context, admin *sql.DB, server, template string, migrate func(context.Context, string) error,
) error {
	found, err := databaseExists(ctx, admin, template)
	if err != nil || found {
		return err
	}
	conn, err := admin.Conn(ctx) // the lock belongs to a session
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	_, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtextextended($1, 0))`, template)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer func() {
		// If this fails, closing the pool ends the session and releases the lock.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, template)
	}()

	found, err = databaseExists(ctx, admin, template)
	if err != nil || found {
		return err
	}
	return buildTemplate(ctx, admin, server, template, migrate)
}

// buildTemplate builds the template under another name and renames it when it is complete. So a
// template that can be found is complete.
func buildTemplate(
	ctx context.Context, admin *sql.DB, server, template string, migrate func(context.Context, string) error,
) error {
	building := template + "_building"
	_, err := admin.ExecContext(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(building)+` WITH (FORCE)`)
	if err != nil {
		return fmt.Errorf("drop incomplete template: %w", err)
	}
	err = createDatabase(ctx, admin, building, "template1")
	if err != nil {
		return err
	}
	target, err := withDatabase(server, building)
	if err != nil {
		return err
	}
	err = migrate(ctx, target)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}

	// A template that accepts no connections can be copied at any time.
	_, err = admin.ExecContext(ctx, `ALTER DATABASE `+pq.QuoteIdentifier(building)+` ALLOW_CONNECTIONS false`)
	if err != nil {
		return fmt.Errorf("close template: %w", err)
	}
	_, err = admin.ExecContext(ctx, `ALTER DATABASE `+pq.QuoteIdentifier(building)+` RENAME TO `+pq.QuoteIdentifier(template))
	if err != nil {
		return fmt.Errorf("rename template (has Migrate closed its connections?): %w", err)
	}
	return nil
}

func databaseExists(ctx context.Context, admin *sql.DB, name string) (bool, error) {
	var found bool
	err := admin.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for database %s: %w", name, err)
	}

	return found, nil
}

func createDatabase(ctx context.Context, admin *sql.DB, name, template string) error {
	statement := `CREATE DATABASE ` + pq.QuoteIdentifier(name) + ` TEMPLATE ` + pq.QuoteIdentifier(template)
	_, err := admin.ExecContext(ctx, statement)
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}

	return nil
}

func dropDatabase(t testing.TB, server, name string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), timeout) // the test's context has ended
	defer cancel()

	admin, err := sql.Open("postgres", server)
	if err != nil {
		t.Errorf("open TEST_DATABASE_URL: %v", err)
		return
	}
	defer admin.Close()

	_, err = admin.ExecContext(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`)
	if err != nil {
		t.Errorf("drop the test's database: %v", err)
	}
}

func databaseURL(t testing.TB, server, name string) string {
	t.Helper()

	target, err := withDatabase(server, name)
	if err != nil {
		t.Fatal(err)
	}

	return target
}

// withDatabase returns the URL of another database of the same server.
func withDatabase(server, name string) (string, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("parse TEST_DATABASE_URL: %w", err)
	}

	if parsed.Scheme == "" {
		return "", errors.New("TEST_DATABASE_URL must be a URL, postgres://…")
	}

	parsed.Path = "/" + name
	return parsed.String(), nil
}
