package coreapi_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// brokenLedger is a ledger whose operations fail with err.
type brokenLedger struct {
	*wallet.Ledger
	err error
}

func (b brokenLedger) Do(context.Context, wallet.Op) (wallet.Receipt, error) {
	return wallet.Receipt{}, b.err
}

func (b brokenLedger) DoBatch(_ context.Context, ops []wallet.Op) []wallet.Result {
	out := make([]wallet.Result, len(ops))
	for i := range out {
		out[i].Err = b.err
	}
	return out
}

func TestLedgerErrors(t *testing.T) {
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	for _, c := range []struct {
		err        error
		status     int
		code       string
		retryAfter bool
	}{
		{wallet.ErrOverloaded, http.StatusServiceUnavailable, "overloaded", true},
		{wallet.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", true},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", true},
		{errors.New("password=hunter2"), http.StatusInternalServerError, "internal", false},
	} {
		t.Run(c.code, func(t *testing.T) {
			h := serveAPI(t, l, brokenLedger{l, c.err})
			single := h.expectProblem(c.status, c.code, request{path: "/v1/accounts/user:u1/holds", body: holdBody(1)})
			retryAfter := single.header.Get("Retry-After")
			if got := retryAfter != ""; got != c.retryAfter {
				t.Errorf("got Retry-After %q, want one: %v", retryAfter, c.retryAfter)
			}
			if c.code == "internal" && strings.Contains(single.raw, c.err.Error()) {
				t.Errorf("the answer has the text of the internal error: %s", single.raw)
			}

			batched := h.checkProblem(h.sendBatch("", creditItem("k", 1))[0], float64(c.status), c.code)
			if got := batched["retryAfterSeconds"] != nil; got != c.retryAfter {
				t.Errorf("batch: got retryAfterSeconds %v, want one: %v", batched["retryAfterSeconds"], c.retryAfter)
			}
			h.expectFields(batched, item{"detail": single.json["detail"]})
		})
	}
}

// brokenReads is a ledger whose balances cannot be read.
type brokenReads struct{ *wallet.Ledger }

func (brokenReads) Balance(context.Context, wallet.Account) (wallet.Balance, error) {
	return wallet.Balance{}, fmt.Errorf("read balance: %w: the cause", wallet.ErrUnavailable)
}

// TestFailedReadsAreLoggedOnceAMinute reads while the database does not answer. The answers do not
// have the cause, so the log must have it.
func TestFailedReadsAreLoggedOnceAMinute(t *testing.T) {
	l := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{})
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer // the server has ended the requests when it is read
	api := coreapi.New(brokenReads{l}, verifier, coreapi.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	server := httptest.NewServer(api)
	h := newHarness(t, server.URL, l, described())
	for range 3 {
		h.expectProblem(http.StatusServiceUnavailable, "unavailable", request{path: "/v1/accounts/user:u1/balance"})
	}
	h.client.CloseIdleConnections()
	server.Close()
	if got := strings.Count(log.String(), "the cause"); got != 1 {
		t.Errorf("lines with the cause: got %d, want 1:\n%s", got, log.String())
	}
}

// While the database refuses connections, requests are answered with 503.
func TestDatabaseRefusesConnections(t *testing.T) {
	t.Parallel()
	database := ledgerdb.Postgres(t)
	l := wallettest.Open(t, database, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
	h := serveAPI(t, l, l)
	h.credit("user:u1", 10)

	adminURL, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(adminURL.Path, "/")
	adminURL.Path = "/postgres"
	db, err := sql.Open("postgres", adminURL.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	execute := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	execute(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS false`)
	execute(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + name + `'`)
	hold := request{path: "/v1/accounts/user:u1/holds", body: holdBody(1), key: "k"}
	for _, r := range []request{{path: "/v1/accounts/user:u1/entries"}, hold} {
		problem := h.expectProblem(http.StatusServiceUnavailable, "unavailable", r)
		if problem.header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After", r.path)
		}
	}
	execute(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS true`)
	h.expect(http.StatusCreated, hold)
	h.checkBalance("user:u1", 9, 1)
}
