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

// ErrNoFile tells that there is no such SQLite database. Only Migrate creates one.
var ErrNoFile = errors.New("no such file")

// Migrate brings the database at the URL to the current schema. Two may run at the same time. It
// returns the migrations that it applied.
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

	applied := make([]MigrationStatus, len(results))
	for i, r := range results {
		applied[i] = MigrationStatus{Version: r.Source.Version, Name: r.Source.Path, AppliedAt: time.Now()}
	}

	return applied, nil
}

// Migrations lists all schema migrations. The error is ErrNoFile if there is no such SQLite
// database.
func Migrations(ctx context.Context, databaseURL string) ([]MigrationStatus, error) {
	err := requireFile(databaseURL)
	if err != nil {
		return nil, err
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

	all := make([]MigrationStatus, len(states))
	for i, s := range states {
		all[i] = MigrationStatus{Version: s.Source.Version, Name: s.Source.Path, AppliedAt: s.AppliedAt}
	}

	return all, nil
}

// requireFile keeps the driver from creating a file at a mistyped path.
func requireFile(databaseURL string) error {
	driver, path, err := splitURL(databaseURL)
	if err != nil || driver != driverSQLite {
		return nil //nolint:nilerr // newProvider returns the URL's error
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoFile, path)
	}
	return nil
}

// Schema returns the embedded migration files, one directory for each kind of database.
func Schema() fs.FS { return migrations }

// newProvider has the migrations of one database. It connects when it is used.
func newProvider(databaseURL string) (*goose.Provider, error) {
	driver, dsn, err := splitURL(databaseURL)
	if err != nil {
		return nil, err
	}

	if driver == driverSQLite {
		return openProvider(goose.DialectSQLite3, driver, sqliteDSN(dsn), "migrations/sqlite")
	}

	dsn, err = withSettings(dsn, migrationSettings)
	if err != nil {
		return nil, err
	}

	// A session lock makes the second of two migrators wait for the first.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}

	return openProvider(goose.DialectPostgres, driver, dsn, "migrations/postgres", goose.WithSessionLocker(locker))
}

func openProvider(dialect goose.Dialect, driver, dsn, dir string, opts ...goose.ProviderOption) (*goose.Provider, error) {
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

// migrationSettings apply to the connection that migrates. A statement that waits for a lock on a
// table makes all later ones wait, too. So a migration fails soon; it can be run again.
var migrationSettings = map[string]string{
	"application_name": "realtime-migrate",
	"connect_timeout":  "5",
	"lock_timeout":     "3000",
}

// lockSQLite makes a second migrator of a SQLite file wait, since goose has session locks for
// servers only. The lock is a transaction on an empty database beside the file, so it ends with its
// process.
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

	unlock = func() {
		_ = tx.Rollback()
		_ = db.Close()
	}

	return unlock, nil
}

// splitURL returns the driver and its DSN from postgres://… or sqlite:PATH.
func splitURL(databaseURL string) (driver, dsn string, err error) {
	path, isSQLite := strings.CutPrefix(databaseURL, "sqlite:")
	if isSQLite && path != "" {
		return driverSQLite, path, nil
	}

	if !strings.HasPrefix(databaseURL, "postgres://") && !strings.HasPrefix(databaseURL, "postgresql://") {
		return "", "", errors.New("a database URL must be postgres://… or sqlite:PATH")
	}

	if _, err := url.Parse(databaseURL); err != nil {
		return "", "", errMalformedURL
	}

	return driverPostgres, databaseURL, nil
}

// errMalformedURL does not say where, since the parser's error shows the password.
var errMalformedURL = errors.New("the database URL is malformed")
