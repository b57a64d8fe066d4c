package wallet

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// migrationSettings are the settings of a session that migrates. They hold whatever the server, the
// role, the database and the URL say. A migration may take hours. Its lock timeout is short, because later
// statements on a table wait behind a migration that waits for a lock on it. A failed migration can
// be run again. If the process ends, the server ends the migration.
var migrationSettings = map[string]string{
	"application_name":                    "realtime-migrate",
	"lock_timeout":                        "3s",
	"statement_timeout":                   "0",
	"transaction_timeout":                 "0",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "0",
	"client_connection_check_interval":    "500ms",
}

// checkServer returns ErrUnsuitableDatabase if the server cannot hold a ledger, and an error if the
// connections do not have sessions of their own. It does nothing on SQLite.
func (m *migrator) checkServer(ctx context.Context) error {
	if m.db.DriverName() == driverSQLite {
		return nil
	}

	err := pgconn.CheckSessions(ctx, m.db.DB, m.connector)
	if err != nil {
		return err
	}

	server, err := readServer(ctx, m.db)
	if err != nil {
		return fmt.Errorf("read version: %w", err)
	}

	return server.check()
}

// serverProperties are the properties of a Postgres server and of a database that a ledger needs.
type serverProperties struct {
	VersionNumber int    `db:"version_number"`
	Version       string `db:"version"`
	Encoding      string `db:"encoding"`
}

func readServer(ctx context.Context, db *sqlx.DB) (serverProperties, error) {
	var server serverProperties
	err := db.GetContext(ctx, &server, `SELECT
		current_setting('server_version_num')::int AS version_number,
		current_setting('server_version') AS version,
		current_setting('server_encoding') AS encoding`)
	return server, err
}

// leastVersion is Postgres 13. Earlier versions do not have the vacuum settings of the tables.
const leastVersion = 130000

// check returns ErrUnsuitableDatabase if the server cannot hold a ledger.
func (s serverProperties) check() error {
	if s.VersionNumber < leastVersion {
		return fmt.Errorf("%w: the server is Postgres %s, but Postgres 13 or newer is needed; upgrade the server",
			ErrUnsuitableDatabase, s.Version)
	}

	if s.Encoding != "UTF8" {
		return fmt.Errorf("%w: its encoding is %s, but texts are UTF-8; "+
			"create the database with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
			ErrUnsuitableDatabase, s.Encoding)
	}

	return nil
}
