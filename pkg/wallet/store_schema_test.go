package wallet_test

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestConstraintsAreTheLastGuard goes past the ledger, straight to the database.
func TestConstraintsAreTheLastGuard(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, credit("user:u1", 10, "c1"))
		mustDo(t, l, hold("user:u1", 4, "h1"))
		driver, dsn := "postgres", url
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			driver, dsn = "sqlite", path
		}
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		for _, statement := range []string{
			`UPDATE wallets SET available = -1`,
			`UPDATE wallets SET escrow = -1`,
			`UPDATE wallets SET earned = -1`,
			`UPDATE entries SET amount = amount + 1`,
			`DELETE FROM entries`,
			`UPDATE transactions SET reason = 'x'`,
			`DELETE FROM transactions`,
			`UPDATE escrows SET status = 'settled'`,
			`UPDATE escrows SET status = 'gone'`,
			`UPDATE escrows SET amount = 0`,
			`INSERT INTO entries SELECT account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at FROM entries`,
			`INSERT INTO idempotency_keys SELECT operation, key, request_hash, transaction_id, created_at FROM idempotency_keys`,
		} {
			if _, err := db.ExecContext(t.Context(), statement); err == nil {
				t.Errorf("the database allows %s", statement)
			}
		}
		if driver == "postgres" {
			if _, err := db.ExecContext(t.Context(), `TRUNCATE entries`); err == nil {
				t.Error("the database allows TRUNCATE entries")
			}
		}
		assertInvariants(t, l, "user:u1")
	})
}

func TestTwoMigratorsAtOnce(t *testing.T) {
	t.Parallel()
	ledgerdb.EachEmpty(t, func(t *testing.T, url string) {
		want := wallet.ErrNotMigrated
		if strings.HasPrefix(url, "sqlite:") {
			want = wallet.ErrNoFile
		}
		for range 2 { // the first one makes no file either
			if _, err := wallet.Open(t.Context(), url, wallet.Config{}); !errors.Is(err, want) {
				t.Errorf("an empty database was opened: %v", err)
			}
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := wallet.Migrate(t.Context(), url); err != nil {
					t.Errorf("migrate: %v", err)
				}
			})
		}
		wg.Wait()
		states, err := wallet.Migrations(t.Context(), url)
		if err != nil || len(states) == 0 {
			t.Fatalf("%v, %v", states, err)
		}
		for _, s := range states {
			if s.AppliedAt.IsZero() {
				t.Errorf("%s was not applied", s.Name)
			}
		}
	})
}
