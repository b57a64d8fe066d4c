// Package wallettest gives tests a real ledger database.
package wallettest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Postgres returns the URL of a fresh, migrated Postgres database.
func Postgres(t testing.TB) string {
	t.Helper()
	return testenv.Postgres(t, testenv.Schema{Version: testenv.HashFS(t, wallet.Schema()), Migrate: migrate})
}

// SQLite returns the URL of a fresh, migrated SQLite database.
func SQLite(t testing.TB) string {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "ledger.db")
	if err := migrate(t.Context(), url); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return url
}

// Each runs the test on a fresh database of each kind.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, Postgres(t)) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLite(t)) })
}

// EachEmpty is Each on databases without a schema.
func EachEmpty(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, testenv.Postgres(t, testenv.Schema{})) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, "sqlite:"+filepath.Join(t.TempDir(), "ledger.db")) })
}

// Open opens the ledger and runs it until the test ends.
func Open(t testing.TB, url string, cfg wallet.Config) *wallet.Ledger {
	t.Helper()
	l, err := wallet.Open(t.Context(), url, cfg)
	if err != nil {
		t.Fatalf("open ledger: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ledger: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("close ledger: %v", err)
		}
	})
	return l
}

func migrate(ctx context.Context, url string) error {
	_, err := wallet.Migrate(ctx, url)
	return err
}
