// Package wallettest creates ledgers for tests. A ledger is a SQLite file in a temporary directory
// or a new database on a Postgres server. The package is meant for programs that embed the ledger.
package wallettest

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/pkg/wallet"
)

// serverTimeout bounds the creation and the removal of a database.
const serverTimeout = 5 * time.Minute

// SQLite returns the URL of a new, migrated SQLite database. The database is removed when the test
// ends.
func SQLite(t testing.TB) string {
	t.Helper()
	ledgerURL := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
	migrateLedger(t, ledgerURL)
	return ledgerURL
}

// Postgres creates a database on the server at serverURL, migrates it and returns its URL. The user
// in serverURL must be allowed to create databases. The database is dropped when the test ends.
func Postgres(t testing.TB, serverURL string) string {
	t.Helper()
	server, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal("the server URL must be postgres://…") // err would show the password
	}

	var suffix [8]byte
	_, _ = rand.Read(suffix[:]) // never fails
	name := "wallettest_" + hex.EncodeToString(suffix[:])

	execOnServer(t, serverURL, `CREATE DATABASE `+pq.QuoteIdentifier(name))
	t.Cleanup(func() {
		execOnServer(t, serverURL, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`)
	})

	server.Path = "/" + name
	ledgerURL := server.String()
	migrateLedger(t, ledgerURL)
	return ledgerURL
}

// Open opens the ledger at ledgerURL and runs it until the test ends. CommitTimeout defaults to two
// minutes here, because the machines of tests are often slow.
func Open(t testing.TB, ledgerURL string, cfg wallet.Config) *wallet.Ledger {
	t.Helper()
	cfg.CommitTimeout = cmp.Or(cfg.CommitTimeout, 2*time.Minute)
	ledger, err := wallet.Open(t.Context(), ledgerURL, cfg)
	if err != nil {
		t.Fatalf("open ledger: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ledger.Run(ctx) }()

	t.Cleanup(func() {
		cancel()
		err := <-done
		if err != nil {
			t.Errorf("run ledger: %v", err)
		}

		err = ledger.Close()
		if err != nil {
			t.Errorf("close ledger: %v", err)
		}
	})

	return ledger
}

func migrateLedger(t testing.TB, ledgerURL string) {
	t.Helper()
	_, err := wallet.Migrate(t.Context(), ledgerURL)
	if err != nil {
		t.Fatalf("migrate ledger: %v", err)
	}
}

func execOnServer(t testing.TB, serverURL, statement string) {
	t.Helper()

	// t.Context ends before the cleanup that drops the database.
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()

	server, err := sql.Open("postgres", serverURL)
	if err != nil {
		t.Error("the server URL must be postgres://…") // err would show the password
		return
	}
	defer server.Close()

	_, err = server.ExecContext(ctx, statement)
	if err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}
