package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// Inspection describes a database as the ledger's connections see it, for a diagnosis. Most fields
// are zero for SQLite.
type Inspection struct {
	IsSQLite  bool
	Version   string
	Host      string // host:port of the server, or the path of its socket or of the SQLite file
	Database  string
	Role      string // the user of the connections
	Schema    string // where the tables are looked for; empty: the schema of search_path does not exist
	Encoding  string
	IsStandby bool
	ReadOnly  bool // transactions are read-only by default

	// Settings are those of the ledger's connections, in the units of pg_settings. A setting that the
	// server does not know is absent.
	Settings map[string]string

	Connections       int // sessions of all databases
	LedgerConnections int // of them, those of cores
	RoleLimit         int // CONNECTION LIMIT of the role; negative: none
	DatabaseLimit     int // CONNECTION LIMIT of the database; negative: none

	ClockLead time.Duration // how far the server's clock is ahead of this machine's
	RoundTrip time.Duration // of the query that read the clock; ClockLead is exact to half of it

	Tables        []string // tables of the ledger that exist
	MissingRights []string // rights that a core needs and the role lacks, such as "INSERT on entries"
	CanMigrate    bool     // the role may create tables, and owns those that exist
	WithoutVacuum []string // tables whose storage parameters switch autovacuum off
	Layout        bus.Keys // keys under which events are published; zero if no core has stored them
	LayoutProblem error    // why Layout could not be read; nil if it was read or does not exist yet
}

// inspectTimeout bounds an inspection of a database that answers slowly.
const inspectTimeout = 30 * time.Second

// inspectedSettings are the settings of Inspection.Settings.
var inspectedSettings = []string{
	"autovacuum",
	"fsync",
	"full_page_writes",
	"max_connections",
	"reserved_connections",
	"statement_timeout",
	"superuser_reserved_connections",
	"synchronous_commit",
	"synchronous_standby_names",
	"track_counts",
}

// coreRights are the rights that a core needs on each table.
var coreRights = map[string][]string{
	"entries":          {"SELECT", "INSERT"},
	"escrow_expiries":  {"SELECT", "INSERT", "DELETE"},
	"escrows":          {"SELECT", "INSERT", "UPDATE"},
	"idempotency_keys": {"SELECT", "INSERT", "DELETE"},
	"journal":          {"SELECT", "INSERT"},
	"layout":           {"SELECT", "INSERT"},
	"outbox":           {"SELECT", "INSERT", "DELETE"},
	versionTable:       {"SELECT"},
	"transactions":     {"SELECT", "INSERT"},
	"wallets":          {"SELECT", "INSERT", "UPDATE"},
}

// Inspect connects to the database at the URL and describes it. It writes nothing, and succeeds also
// on a database that cannot hold a ledger or is not migrated. It returns ErrNoFile if the SQLite file
// does not exist.
func Inspect(ctx context.Context, databaseURL string) (*Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()

	err := requireFile(databaseURL)
	if err != nil {
		return nil, err
	}
	driver, dsn, err := splitURL(databaseURL)
	if err != nil {
		return nil, err
	}
	if driver == driverSQLite {
		return inspectSQLite(ctx, dsn)
	}
	return inspectPostgres(ctx, dsn)
}

func inspectSQLite(ctx context.Context, path string) (*Inspection, error) {
	db, err := sqlx.Open(driverSQLite, "file:"+sqlitePath(path)+"?mode=ro")
	if err != nil {
		return nil, errMalformedURL
	}
	defer func() { _ = db.Close() }()

	i := &Inspection{IsSQLite: true, Host: path}
	err = db.GetContext(ctx, &i.Version, `SELECT sqlite_version()`)
	if err != nil {
		return nil, err
	}
	names, err := listTables(ctx, db)
	if err != nil {
		return nil, err
	}
	i.Tables = keepLedgerTables(names)
	i.readLayout(ctx, db)
	return i, nil
}

func inspectPostgres(ctx context.Context, dsn string) (*Inspection, error) {
	target, err := pgconn.ParseURL(dsn)
	if err != nil {
		return nil, err
	}
	s := &postgresStore{}
	connector := s.newConnector(target, map[string]string{"application_name": "realtime-doctor"})
	db := openPool(connector, 1)
	defer func() { _ = db.Close() }()

	i := &Inspection{}
	for _, read := range []func(context.Context, *sqlx.DB) error{
		i.readClock,
		i.readServer,
		i.readSettings,
		i.readTables,
		i.readRights,
	} {
		err := read(ctx, db)
		if err != nil {
			return nil, err
		}
	}
	i.readLayout(ctx, db)
	return i, nil
}

// readClock reads the server's clock. The first query opens the connection.
func (i *Inspection) readClock(ctx context.Context, db *sqlx.DB) error {
	err := db.PingContext(ctx)
	if err != nil {
		return err
	}
	before := time.Now()
	var clock time.Time
	err = db.GetContext(ctx, &clock, `SELECT clock_timestamp()`)
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	i.RoundTrip = time.Since(before)
	middle := before.Add(i.RoundTrip / 2)
	i.ClockLead = clock.Sub(middle)
	return nil
}

func (i *Inspection) readServer(ctx context.Context, db *sqlx.DB) error {
	const query = `SELECT current_setting('server_version'), current_setting('server_encoding'), current_database(),
		coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'a socket'),
		current_user, coalesce(current_schema(), ''),
		pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
		(SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database),
		(SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'realtime-core%'),
		(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
		(SELECT datconnlimit FROM pg_database WHERE datname = current_database())`
	err := db.QueryRowContext(ctx, query).Scan(
		&i.Version, &i.Encoding, &i.Database, &i.Host, &i.Role, &i.Schema, &i.IsStandby, &i.ReadOnly,
		&i.Connections, &i.LedgerConnections, &i.RoleLimit, &i.DatabaseLimit)
	if err != nil {
		return fmt.Errorf("read the properties of the server: %w", err)
	}
	return nil
}

func (i *Inspection) readSettings(ctx context.Context, db *sqlx.DB) error {
	var rows []struct {
		Name    string `db:"name"`
		Setting string `db:"setting"`
	}
	err := db.SelectContext(ctx, &rows, `SELECT name, setting FROM pg_settings WHERE name = ANY($1)`, pq.Array(inspectedSettings))
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	i.Settings = make(map[string]string, len(rows))
	for _, row := range rows {
		i.Settings[row.Name] = row.Setting
	}
	return nil
}

// readTables reads the names of the tables, the rights to change them, and the tables without autovacuum.
func (i *Inspection) readTables(ctx context.Context, db *sqlx.DB) error {
	var rows []struct {
		Name     string `db:"relname"`
		IsOwner  bool   `db:"is_owner"`
		NoVacuum bool   `db:"no_vacuum"`
	}
	const query = `SELECT relname, pg_has_role(relowner, 'USAGE') AS is_owner,
		EXISTS (SELECT 1 FROM pg_options_to_table(reloptions)
			WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean) AS no_vacuum
		FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p')
		AND relname = ANY($1) ORDER BY relname`
	err := db.SelectContext(ctx, &rows, query, pq.Array(slices.Collect(maps.Keys(coreRights))))
	if err != nil {
		return fmt.Errorf("read tables: %w", err)
	}

	const mayCreate = `SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)`
	err = db.GetContext(ctx, &i.CanMigrate, mayCreate)
	if err != nil {
		return fmt.Errorf("read rights on the schema: %w", err)
	}
	for _, row := range rows {
		i.Tables = append(i.Tables, row.Name)
		i.CanMigrate = i.CanMigrate && row.IsOwner
		if row.NoVacuum {
			i.WithoutVacuum = append(i.WithoutVacuum, row.Name)
		}
	}
	return nil
}

// readRights reads which of coreRights the role lacks on the tables that exist.
func (i *Inspection) readRights(ctx context.Context, db *sqlx.DB) error {
	for _, table := range i.Tables {
		for _, right := range coreRights[table] {
			var has bool
			const query = `SELECT has_table_privilege(quote_ident(current_schema()) || '.' || quote_ident($1), $2)`
			err := db.GetContext(ctx, &has, query, table, right)
			if err != nil {
				return fmt.Errorf("read rights on %s: %w", table, err)
			}
			if !has {
				i.MissingRights = append(i.MissingRights, right+" on "+table)
			}
		}
	}
	return nil
}

// readLayout reads the keys that a core has stored.
func (i *Inspection) readLayout(ctx context.Context, db *sqlx.DB) {
	if !slices.Contains(i.Tables, "layout") {
		return
	}
	used, err := readLayout(ctx, db)
	switch {
	case err == nil:
		i.Layout = used
	case !errors.Is(err, sql.ErrNoRows):
		i.LayoutProblem = err
	}
}

func keepLedgerTables(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		return coreRights[name] == nil
	})
}
