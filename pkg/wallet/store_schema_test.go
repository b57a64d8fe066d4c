package wallet_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// TestDatabaseRefusesInvalidChanges runs statements on the database, without the ledger.
func TestDatabaseRefusesInvalidChanges(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		mustDo(t, l, newCredit("user:u1", 10, "c1"))
		mustDo(t, l, newHold("user:u1", 4, "h1"))
		statements := []string{
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
		}
		if !strings.HasPrefix(url, "sqlite:") {
			statements = append(statements, `TRUNCATE entries`)
		}
		db := openDatabase(t, url)
		for _, statement := range statements {
			t.Run(statement, func(t *testing.T) {
				_, err := db.ExecContext(t.Context(), statement)
				if err == nil {
					t.Error("got no error, want the database to refuse the statement")
				}
			})
		}
		checkAccounts(t, l, "user:u1")
	})
}

func TestOpenRefusesAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	ledgerdb.EachEmpty(t, func(t *testing.T, url string) {
		want := wallet.ErrNotMigrated
		if strings.HasPrefix(url, "sqlite:") {
			want = wallet.ErrNoFile
		}
		_, err := wallet.Open(t.Context(), url, wallet.Config{})
		checkError(t, "first open", err, want)
		// The first open has not created the file.
		_, err = wallet.Open(t.Context(), url, wallet.Config{})
		checkError(t, "second open", err, want)
	})
}

func TestTwoMigrationsAtOnceBothSucceed(t *testing.T) {
	t.Parallel()
	ledgerdb.EachEmpty(t, func(t *testing.T, url string) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := wallet.Migrate(t.Context(), url)
				checkError(t, "migrate", err, nil)
			})
		}
		wg.Wait()
		states, err := wallet.Migrations(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if len(states) == 0 {
			t.Fatal("got no migrations")
		}
		for _, s := range states {
			if s.AppliedAt.IsZero() {
				t.Errorf("migration %s was not applied", s.Name)
			}
		}
	})
}
