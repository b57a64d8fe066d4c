package wallet

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

//go:embed migrations
var migrations embed.FS

// MigrationStatus describes one schema migration.
type MigrationStatus struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero if the migration was not applied
}

// ErrNotMigrated means that the schema of the database is older than the program.
var ErrNotMigrated = errors.New("the database schema is not current")

// ErrNoFile means that the SQLite file does not exist. Only Migrate creates it.
var ErrNoFile = errors.New("no such file")

// ErrUnsuitableDatabase means that the database cannot hold a ledger. The error says why and what to
// do.
var ErrUnsuitableDatabase = errors.New("the database cannot hold a ledger")

// Migrate migrates the database at the URL to the current schema and returns the migrations that it
// applied. Several processes may call Migrate at the same time. It returns ErrUnsuitableDatabase
// and changes nothing if the database cannot hold a ledger.
func Migrate(ctx context.Context, databaseURL string) ([]MigrationStatus, error) {
	m, err := openMigrator(databaseURL, pgconn.Writable)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.close() }()

	unlock, err := lockSQLite(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("wait for another migration: %w", err)
	}
	defer unlock()

	err = m.checkServer(ctx)
	if err != nil {
		return nil, err
	}

	_, err = m.checkTables(ctx)
	if err != nil {
		return nil, err
	}

	err = m.takeOverVersions(ctx)
	if err != nil {
		return nil, err
	}

	applied, err := m.applyMissing(ctx)
	if err != nil {
		return nil, fmt.Errorf("apply migrations: %w", err)
	}

	_, err = m.checkTables(ctx)
	return applied, err
}

// applyMissing applies the missing migrations one by one.
func (m *migrator) applyMissing(ctx context.Context) ([]MigrationStatus, error) {
	var applied []MigrationStatus
	for {
		result, err := m.provider.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return applied, nil
		}

		if err != nil {
			return nil, err
		}

		applied = append(applied, MigrationStatus{
			Version:   result.Source.Version,
			Name:      result.Source.Path,
			AppliedAt: time.Now(),
		})
	}
}

// Migrations returns all schema migrations. It writes nothing. It returns ErrNoFile if the SQLite
// file does not exist.
func Migrations(ctx context.Context, databaseURL string) ([]MigrationStatus, error) {
	err := requireFile(databaseURL)
	if err != nil {
		return nil, err
	}

	m, err := openMigrator(databaseURL, pgconn.AnyServer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.close() }()

	err = m.checkServer(ctx)
	if err != nil {
		return nil, err
	}

	hasVersions, err := m.checkTables(ctx)
	if err != nil {
		return nil, err
	}

	if !hasVersions {
		return m.listMissing(), nil // goose would create the version table
	}

	states, err := m.provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}

	all := make([]MigrationStatus, len(states))
	for i, s := range states {
		all[i] = MigrationStatus{
			Version:   s.Source.Version,
			Name:      s.Source.Path,
			AppliedAt: s.AppliedAt,
		}
	}

	return all, nil
}

// requireFile returns ErrNoFile if the SQLite file does not exist. Otherwise the driver would
// create a file at a mistyped path.
func requireFile(databaseURL string) error {
	driver, path, err := splitURL(databaseURL)
	if err != nil || driver != driverSQLite {
		return nil //nolint:nilerr // newProvider returns the error of the URL
	}

	_, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoFile, path)
	}

	return nil
}

// Schema returns the embedded migration files. It has one directory for each type of database.
func Schema() fs.FS { return migrations }

// migrator migrates one database.
type migrator struct {
	provider  *goose.Provider
	db        *sqlx.DB
	connector *pgconn.Connector // of db; nil on SQLite
}

func (m *migrator) close() error { return m.provider.Close() }

// listMissing returns all migrations as missing.
func (m *migrator) listMissing() []MigrationStatus {
	sources := m.provider.ListSources()
	all := make([]MigrationStatus, len(sources))
	for i, s := range sources {
		all[i] = MigrationStatus{
			Version: s.Version,
			Name:    s.Path,
		}
	}

	return all
}

// openMigrator returns the migrator of one database. It does not connect to the database.
func openMigrator(databaseURL string, role pgconn.Role) (*migrator, error) {
	driver, dsn, err := splitURL(databaseURL)
	if err != nil {
		return nil, err
	}

	if driver == driverSQLite {
		err := registerSHA256()
		if err != nil {
			return nil, err
		}

		db, err := sqlx.Open(driverSQLite, sqliteDSN(dsn))
		if err != nil {
			return nil, errMalformedURL
		}

		return newMigrator(goose.DialectSQLite3, db, "migrations/sqlite")
	}

	target, err := pgconn.ParseURL(dsn)
	if err != nil {
		return nil, err
	}

	connector := &pgconn.Connector{
		Target:    target,
		Server:    &pgconn.Server{},
		Role:      role,
		Settings:  migrationSettings,
		IsDecided: true,
	}

	// The session lock makes a second migrator wait for the first one.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}

	// Each migration gets a connection of its own, because RESET in a migration sets the time limits of
	// the server.
	db := sqlx.NewDb(sql.OpenDB(connector), driverPostgres)
	db.SetMaxIdleConns(-1)
	m, err := newMigrator(goose.DialectPostgres, db, "migrations/postgres", goose.WithSessionLocker(locker))
	if err != nil {
		return nil, err
	}

	m.connector = connector
	return m, nil
}

// newMigrator returns a migrator that closes db.
func newMigrator(dialect goose.Dialect, db *sqlx.DB, dir string, opts ...goose.ProviderOption) (*migrator, error) {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		_ = db.Close()
		return nil, err
	}

	opts = append(opts, goose.WithTableName(versionTable))
	p, err := goose.NewProvider(dialect, db.DB, files, opts...)
	if err != nil {
		_ = db.Close()
		return nil, err
	}

	return &migrator{provider: p, db: db}, nil
}

// lockSQLite makes a second migrator of a SQLite file wait. It is needed because goose has session
// locks only for servers. The lock is a transaction on an empty database next to the file, so it
// ends with the process. On Postgres lockSQLite does nothing.
func lockSQLite(ctx context.Context, databaseURL string) (unlock func(), err error) {
	driver, path, err := splitURL(databaseURL)
	if err != nil || driver != driverSQLite {
		return func() {}, err
	}

	lockPath := path + ".migrate-lock"
	err = errors.Join(createPrivateFile(path), createPrivateFile(lockPath))
	if err != nil {
		return nil, err
	}

	lockDSN := "file:" + sqlitePath(lockPath) + "?_txlock=immediate&_pragma=busy_timeout(30000)"
	db, err := sqlx.Open(driverSQLite, lockDSN)
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

// createPrivateFile creates the file of a SQLite database if it does not exist, so that only its
// owner can read it. SQLite would let everybody read it. It gives the files beside it, such as the
// write-ahead log, the same permissions.
func createPrivateFile(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}

	return file.Close()
}

// splitURL returns the driver and its DSN from postgres://… or sqlite:PATH.
func splitURL(databaseURL string) (driver, dsn string, err error) {
	path, isSQLite := strings.CutPrefix(databaseURL, "sqlite:")
	if isSQLite && path != "" {
		return driverSQLite, path, nil
	}

	isPostgres := strings.HasPrefix(databaseURL, "postgres://") || strings.HasPrefix(databaseURL, "postgresql://")
	if !isPostgres {
		return "", "", errors.New("the database URL must be postgres://… or sqlite:PATH")
	}

	_, err = pgconn.ParseURL(databaseURL)
	if err != nil {
		return "", "", err
	}

	return driverPostgres, databaseURL, nil
}

// CheckURL returns an error that says what to do if the database URL cannot be used. It does not
// connect. The error never contains the password.
func CheckURL(databaseURL string) error {
	_, _, err := splitURL(databaseURL)
	return err
}

// errMalformedURL does not contain the parser's error, because it would show the password.
var errMalformedURL = errors.New("the database URL is malformed")
