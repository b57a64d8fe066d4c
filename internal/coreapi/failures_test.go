package coreapi_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// broken is a ledger whose operations fail with err.
type broken struct {
	*wallet.Ledger
	err error
}

func (b broken) Do(context.Context, wallet.Op) (wallet.Receipt, error) {
	return wallet.Receipt{}, b.err
}

func (b broken) DoBatch(_ context.Context, ops []wallet.Op) []wallet.Result {
	out := make([]wallet.Result, len(ops))
	for i := range out {
		out[i].Err = b.err
	}
	return out
}

func TestLedgerInTrouble(t *testing.T) {
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
			h := serveAPI(t, l, broken{l, c.err})
			a := h.expectProblem(c.status, c.code, request{path: "/v1/accounts/user:u1/holds", body: holdBody(1)})
			if got := a.header.Get("Retry-After") != ""; got != c.retryAfter {
				t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
			}
			if d, _ := a.json["detail"].(string); c.code == "internal" && d == c.err.Error() {
				t.Error("the inside of an error went to the client")
			}
			p := h.checkResult(h.sendBatch("", creditItem("k", 1))[0], float64(c.status), c.code)
			if got := p["retryAfterSeconds"] != nil; got != c.retryAfter || p["detail"] != a.json["detail"] {
				t.Errorf("in a batch: %v", p)
			}
		})
	}
}

// A database that lets nobody in is away, and comes back.
func TestDatabaseClosedToConnections(t *testing.T) {
	t.Parallel()
	database := ledgerdb.Postgres(t)
	l := wallettest.Open(t, database, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
	h := serveAPI(t, l, l)
	h.credit("user:u1", 10)

	elsewhere, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(elsewhere.Path, "/")
	elsewhere.Path = "/postgres"
	db, err := sql.Open("postgres", elsewhere.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	do := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	do(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS false`)
	do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + name + `'`)
	hold := request{path: "/v1/accounts/user:u1/holds", body: holdBody(1), key: "k"}
	for _, r := range []request{{path: "/v1/accounts/user:u1/entries"}, hold} {
		if a := h.expectProblem(http.StatusServiceUnavailable, "unavailable", r); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", r.path)
		}
	}
	do(`ALTER DATABASE "` + name + `" ALLOW_CONNECTIONS true`)
	h.expect(http.StatusCreated, hold)
	h.checkBalance("user:u1", 9, 1)
}
