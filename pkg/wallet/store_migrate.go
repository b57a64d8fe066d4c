package wallet

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// MigrationStatus is one schema migration and when it was applied.
type MigrationStatus struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero: not yet
}

// ErrNotMigrated tells that the database's schema is older than the program.
var ErrNotMigrated = errors.New("the database schema is not current")

// ErrNoFile tells that a SQLite database is not there. Only Migrate makes one.
var ErrNoFile = errors.New("no such file")

// Migrate brings the database at the URL to the current schema; two at once are
// safe. It returns what it applied.
func Migrate(ctx context.Context, databaseURL string) ([]MigrationStatus, error) {
	p, err := newProvider(databaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	unlock, err := lockSQLite(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("wait for another migration: %w", err)
	}
	defer unlock()
	results, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	out := make([]MigrationStatus, len(results))
	for i, r := range results {
		out[i] = MigrationStatus{Version: r.Source.Version, Name: r.Source.Path, AppliedAt: time.Now()}
	}
	return out, nil
}

// Migrations lists all schema migrations; the error is ErrNoFile when there is no
// such database.
func Migrations(ctx context.Context, databaseURL string) ([]MigrationStatus, error) {
	if driver, path, err := splitURL(databaseURL); err == nil && driver == driverSQLite {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s", ErrNoFile, path)
		}
	}
	p, err := newProvider(databaseURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	states, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	out := make([]MigrationStatus, len(states))
	for i, s := range states {
		out[i] = MigrationStatus{Version: s.Source.Version, Name: s.Source.Path, AppliedAt: s.AppliedAt}
	}
	return out, nil
}

// Schema is the embedded migration files, one directory for each kind of database.
func Schema() fs.FS { return migrations }

// newProvider knows the migrations of one database. It connects when it is used.
func newProvider(databaseURL string) (*goose.Provider, error) {
	driver, dsn, err := splitURL(databaseURL)
	if err != nil {
		return nil, err
	}
	dialect, dir := goose.DialectPostgres, "migrations/postgres"
	var opts []goose.ProviderOption
	if driver == driverSQLite {
		dialect, dir, dsn = goose.DialectSQLite3, "migrations/sqlite", sqliteDSN(dsn)
	} else {
		// A session lock makes the second of two migrators wait for the first.
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
		if dsn, err = withSettings(dsn, migrationSettings); err != nil {
			return nil, err
		}
	}
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return nil, err
	}
	db, err := sqlx.Open(driver, dsn)
	if err != nil {
		return nil, errMalformedURL
	}
	p, err := goose.NewProvider(dialect, db.DB, files, opts...)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return p, nil
}

// migrationSettings go with the connection that migrates. Who waits for a lock on a
// table makes all wait that come after: a migration rather fails, and is tried again.
var migrationSettings = map[string]string{"application_name": "realtime-migrate", "connect_timeout": "5", "lock_timeout": "3000"}

// lockSQLite makes a second migrator of a SQLite file wait: goose has session
// locks for servers only. The lock is a transaction on an empty database beside
// the file, so it ends with its process.
func lockSQLite(ctx context.Context, databaseURL string) (unlock func(), err error) {
	driver, path, err := splitURL(databaseURL)
	if err != nil || driver != driverSQLite {
		return func() {}, err
	}
	db, err := sqlx.Open(driverSQLite, "file:"+sqlitePath(path)+".migrate-lock?_txlock=immediate&_pragma=busy_timeout(30000)")
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return func() { _ = tx.Rollback(); _ = db.Close() }, nil
}

// splitURL tells the driver from postgres://… or sqlite:PATH.
func splitURL(databaseURL string) (driver, dsn string, err error) {
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok && path != "" {
		return driverSQLite, path, nil
	}
	if !strings.HasPrefix(databaseURL, "postgres://") && !strings.HasPrefix(databaseURL, "postgresql://") {
		return "", "", errors.New("a database URL is postgres://… or sqlite:PATH")
	}
	if _, err := url.Parse(databaseURL); err != nil {
		return "", "", errMalformedURL
	}
	return driverPostgres, databaseURL, nil
}

// errMalformedURL does not say where: the parser's error shows the password.
var errMalformedURL = errors.New("the database URL is malformed")
