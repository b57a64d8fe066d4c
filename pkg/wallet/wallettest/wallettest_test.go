package wallettest_test

import (
	"os"
	"testing"

	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestDatabasesAreFreshAndMigrated(t *testing.T) {
	t.Parallel()
	databases := map[string]func(t *testing.T) string{
		"sqlite": func(t *testing.T) string { return wallettest.SQLite(t) },
		"postgres": func(t *testing.T) string {
			server := os.Getenv("TEST_DATABASE_URL")
			if server == "" {
				t.Fatal("TEST_DATABASE_URL must name a Postgres server")
			}
			return wallettest.Postgres(t, server)
		},
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // the second database has nothing of the first
				ledger := wallettest.Open(t, database(t), wallet.Config{})
				receipt, err := ledger.Do(t.Context(), wallet.Op{
					Operation: wallet.OpCredit, Account: "user:u1", Amount: 5, Reason: "test", IdempotencyKey: "k",
				})
				if err != nil {
					t.Fatal(err)
				}
				if receipt.Replayed {
					t.Error("the operation was done before")
				}
			}
		})
	}
}
