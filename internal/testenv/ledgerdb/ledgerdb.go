// Package ledgerdb gives this module's tests fresh, migrated ledger databases on the test servers.
package ledgerdb

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// Postgres returns the URL of a fresh, migrated Postgres database. It is a copy of a template
// that is migrated once per server. That is faster than a migration for each test.
func Postgres(t testing.TB) string {
	t.Helper()
	version := testenv.HashFS(t, wallet.Schema()) + "realtime_migrations" // the version table is not in the files
	schema := testenv.Schema{Version: version, Migrate: migrateLedger}
	return testenv.Postgres(t, schema)
}

// Each runs the test on a fresh Postgres database and on a fresh SQLite database, both migrated.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()

	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, Postgres(t))
	})

	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, wallettest.SQLite(t))
	})
}

// EachEmpty runs the test on an empty Postgres database and on a SQLite file that does not exist.
func EachEmpty(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()

	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testenv.Postgres(t, testenv.Schema{}))
	})

	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "ledger.db"))
	})
}

func migrateLedger(ctx context.Context, url string) error {
	_, err := wallet.Migrate(ctx, url)
	return err
}
