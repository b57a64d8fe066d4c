package wallet

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// TestMigrationGivesOldTransactionsTheirChains takes the schema of a ledger back to the version
// before chains, and migrates it again. Each transaction then has the chains that the ledger itself
// had stored.
func TestMigrationGivesOldTransactionsTheirChains(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		version := int64(3)
		if strings.HasPrefix(url, "sqlite:") {
			version = 1
		}
		useLedger(t, url, func(l *Ledger) { doSeveralOfEachOperation(t, l) })
		db := openTestDatabase(t, url)
		want := readStoredChains(t, db)
		checkEqual(t, "transactions", len(want), 8*operationsInHistory)

		migrateDown(t, url, version)
		_, err := db.ExecContext(t.Context(), `SELECT chains FROM transactions`)
		if err == nil {
			t.Fatal("the column must not exist in the old schema")
		}
		checkError(t, "migrate", migrateDatabase(t.Context(), url), nil)

		got := readStoredChains(t, db)
		if !maps.Equal(got, want) {
			t.Errorf("stored chains:\ngot  %v\nwant %v", got, want)
		}
		_, err = db.ExecContext(t.Context(), `UPDATE transactions SET reason = 'x'`)
		if err == nil {
			t.Error("transactions can be changed after the migration")
		}
		useLedger(t, url, func(l *Ledger) {
			mustDoBatch(t, l, []Op{newCredit("user:u0", 1, "after")})
			checkLedger(t, l)
			CheckChains(t, l, "user:u0")
			CheckChains(t, l, "model:m0")
		})
	})
}

// TestMigrationOfAnEmptyLedger migrates a ledger without transactions down and up.
func TestMigrationOfAnEmptyLedger(t *testing.T) {
	t.Parallel()
	forEachDatabase(t, func(t *testing.T, url string) {
		migrateDown(t, url, 1)
		checkError(t, "migrate", migrateDatabase(t.Context(), url), nil)
		useLedger(t, url, func(l *Ledger) {
			mustDoBatch(t, l, []Op{newCredit("user:u0", 1, "c")})
			checkLedger(t, l)
		})
	})
}

const operationsInHistory = 20

// doSeveralOfEachOperation does each of the six operations several times. A settlement pays models
// that have a history, and models that have none.
func doSeveralOfEachOperation(t *testing.T, l *Ledger) {
	t.Helper()
	for i := range operationsInHistory {
		user := Account(fmt.Sprint("user:u", i%3))
		model := Account(fmt.Sprint("model:m", i%5))
		key := fmt.Sprint(i)
		debit := newCredit(user, 1, "d"+key)
		debit.Operation = OpDebit
		held := mustDoBatch(t, l, []Op{
			newCredit(user, 1000, "c"+key),
			newHold(user, 10, "h1"+key),
			newHold(user, 20, "h2"+key),
			newHold(user, 30, "h3"+key),
			debit,
		})
		partial := newSettle(held[3].EscrowID, model, 0, "p"+key)
		partial.Operation = OpPartialSettle
		partial.RefundAmount = 12
		partial.SettleAmount = 18
		mustDoBatch(t, l, []Op{
			newSettle(held[1].EscrowID, model, 10, "s"+key),
			newRefund(held[2].EscrowID, 20, "r"+key),
			partial,
		})
	}
}

// useLedger runs a ledger while use runs.
func useLedger(t *testing.T, url string, use func(l *Ledger)) {
	t.Helper()
	l := openLedger(t, url, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error { return l.Run(ctx) })
	defer func() { _ = running.Wait() }() // also if use fails the test
	defer cancel()
	use(l)
	cancel()
	err := errors.Join(running.Wait(), l.Close())
	if err != nil {
		t.Fatal(err)
	}
}

func migrateDown(t *testing.T, url string, version int64) {
	t.Helper()
	m, err := openMigrator(url, pgconn.Writable)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.close() }()
	_, err = m.provider.DownTo(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
}

// openTestDatabase opens the database without the ledger.
func openTestDatabase(t *testing.T, url string) *sqlx.DB {
	t.Helper()
	driver, dsn, err := splitURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if driver == driverSQLite {
		dsn = sqliteDSN(dsn)
	}
	db, err := sqlx.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// readStoredChains returns the chains of all transactions in hexadecimal.
func readStoredChains(t *testing.T, db *sqlx.DB) map[uuid.UUID]string {
	t.Helper()
	var rows []struct {
		ID     uuid.UUID `db:"id"`
		Chains []byte    `db:"chains"`
	}
	err := db.SelectContext(t.Context(), &rows, `SELECT id, chains FROM transactions`)
	if err != nil {
		t.Fatal(err)
	}
	chains := make(map[uuid.UUID]string, len(rows))
	for _, r := range rows {
		chains[r.ID] = hex.EncodeToString(r.Chains)
	}
	return chains
}
