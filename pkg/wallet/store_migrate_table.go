package wallet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
)

// versionTable records the applied migrations. It has a name of its own, because another
// application that uses goose may have its tables in the same database.
const versionTable = "realtime_migrations"

// gooseDefaultTable is the version table of applications that do not choose a name. Earlier ledgers
// used it, too.
const gooseDefaultTable = "goose_db_version"

// ledgerTables are the tables of the ledger, except versionTable. They exist since the first
// migration.
var ledgerTables = []string{
	"entries",
	"escrow_expiries",
	"escrows",
	"idempotency_keys",
	"layout",
	"outbox",
	"transactions",
	"wallets",
}

// listTables returns the tables of the schema in which the migrations create tables, sorted.
func listTables(ctx context.Context, db *sqlx.DB) ([]string, error) {
	query := `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`
	if db.DriverName() == driverSQLite {
		query = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	}

	var tables []string
	err := db.SelectContext(ctx, &tables, query)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}

	slices.Sort(tables)
	return tables, nil
}

// checkTables returns ErrUnsuitableDatabase if the tables in the database contradict the version
// table. It reports whether the version table exists.
func (m *migrator) checkTables(ctx context.Context) (hasVersions bool, err error) {
	tables, err := listTables(ctx, m.db)
	if err != nil {
		return false, err
	}

	if !slices.Contains(tables, versionTable) {
		return false, m.checkTablesWithoutVersions(ctx, tables)
	}

	newest, err := m.readNewestVersion(ctx, versionTable)
	if err != nil {
		return true, err
	}

	tables, err = listTables(ctx, m.db) // another process may have migrated before newest was read
	if err != nil {
		return true, err
	}

	missing := slices.DeleteFunc(slices.Clone(ledgerTables), func(name string) bool {
		return slices.Contains(tables, name)
	})

	if newest > 0 && len(missing) > 0 {
		return true, fmt.Errorf("%w: the table %s says that it was migrated, but these tables do not exist: %s; "+
			"restore them from a backup, or use an empty database",
			ErrUnsuitableDatabase, versionTable, strings.Join(missing, ", "))
	}

	return true, nil
}

// checkTablesWithoutVersions is checkTables for a database without the version table. It accepts
// the tables of an earlier ledger, which takeOverVersions can complete.
func (m *migrator) checkTablesWithoutVersions(ctx context.Context, tables []string) error {
	found := slices.DeleteFunc(slices.Clone(ledgerTables), func(name string) bool {
		return !slices.Contains(tables, name)
	})

	if len(found) == 0 {
		return nil
	}

	isLedger := len(found) == len(ledgerTables)
	if isLedger && slices.Contains(tables, gooseDefaultTable) {
		newest, err := m.readNewestVersion(ctx, gooseDefaultTable)
		if err != nil {
			return err
		}

		if newest > 0 && newest <= m.newestVersion() {
			return nil
		}
	}

	return fmt.Errorf("%w: it has no table %s, but these tables exist: %s; "+
		"use a database of its own for the ledger, or a schema of its own (search_path)",
		ErrUnsuitableDatabase, versionTable, strings.Join(found, ", "))
}

// readNewestVersion returns the newest version in a version table.
func (m *migrator) readNewestVersion(ctx context.Context, table string) (newest int64, err error) {
	err = m.db.GetContext(ctx, &newest, `SELECT coalesce(max(version_id), 0) FROM `+table)
	if err != nil {
		return 0, fmt.Errorf("read newest version: %w", err)
	}

	return newest, nil
}

// newestVersion returns the version to which the program migrates.
func (m *migrator) newestVersion() int64 {
	sources := m.provider.ListSources()
	return sources[len(sources)-1].Version
}

// takeOverVersions renames the version table of an earlier ledger. checkTables must have accepted
// the tables.
func (m *migrator) takeOverVersions(ctx context.Context) error {
	tables, err := listTables(ctx, m.db)
	if err != nil {
		return err
	}

	isEarlierLedger := slices.Contains(tables, ledgerTables[0]) && !slices.Contains(tables, versionTable)
	if !isEarlierLedger {
		return nil
	}

	rename := `ALTER TABLE IF EXISTS ` // another process may rename it at the same time
	if m.db.DriverName() == driverSQLite {
		rename = `ALTER TABLE ` // there lockSQLite excludes other processes
	}

	_, err = m.db.ExecContext(ctx, rename+gooseDefaultTable+` RENAME TO `+versionTable)
	if err != nil {
		return fmt.Errorf("rename version table: %w", err)
	}

	return nil
}
