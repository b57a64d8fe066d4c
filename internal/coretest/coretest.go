// Package coretest serves the HTTP API of a real core in a test, on a new SQLite ledger.
package coretest

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// Secret signs the tokens of a core that Start starts.
const Secret = "a-secret-of-tests-with-more-than-32-bytes"

// answerLimit is how long a request may wait for the ledger. The machine may be slow.
const answerLimit = 5 * time.Minute

// Start starts a core that runs until the test ends, and returns its URL.
func Start(t testing.TB) (coreURL string) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(Secret)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(coreapi.New(ledger, verifier, coreapi.Config{Logger: quiet, Timeout: answerLimit}))
	t.Cleanup(server.Close)
	return server.URL
}

// ServiceToken returns a token with all scopes of the HTTP API.
func ServiceToken(t testing.TB) string {
	t.Helper()
	token, err := auth.Sign([]byte(Secret), auth.Request{
		Subject: "service",
		Scopes:  []string{auth.ScopeCredit, auth.ScopeDebit, auth.ScopeHold, auth.ScopeSettle, auth.ScopeRead},
		TTL:     time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}
