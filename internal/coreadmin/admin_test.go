package coreadmin_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// Each call needs the scope admin and refuses unknown parameters.
func TestEachCallNeedsScopeAdmin(t *testing.T) {
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
	admin := h.token
	for _, call := range []struct{ method, path string }{
		{http.MethodGet, "/admin/outbox"},
		{http.MethodPost, "/admin/reconcile"},
		{http.MethodGet, "/admin/dead-letters"},
		{http.MethodPost, "/admin/dead-letters/x/replay"},
	} {
		t.Run(call.path, func(t *testing.T) {
			h.T = t
			h.token = ""
			missing := h.expectProblem(http.StatusUnauthorized, "unauthorized", call.method, call.path, "")
			if got := missing.header.Get("WWW-Authenticate"); got != `Bearer realm="admin"` {
				t.Errorf("got WWW-Authenticate %q, want Bearer realm=\"admin\"", got)
			}
			h.token = signToken(t, auth.ScopeCredit, auth.ScopeSettle, auth.ScopeRead, auth.ScopeEvents)
			h.expectProblem(http.StatusForbidden, "forbidden", call.method, call.path, "")
			h.token = admin
			h.expectProblem(http.StatusBadRequest, "invalid_request", call.method, call.path+"?unknown=1", "")
		})
	}
}

func TestOutbox(t *testing.T) {
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	var redisError error
	h := serveAdmin(t, coreadmin.Config{
		Ledger:     ledger,
		CheckRedis: func(context.Context) error { return redisError },
	}, time.Minute)

	empty := h.expectOK(http.MethodGet, "/admin/outbox", "")
	if want := `{"backlog":0,"oldestAgeSeconds":0,"redis":"ok"}` + "\n"; empty.raw != want {
		t.Errorf("empty outbox: got %s, want %s", empty.raw, want)
	}

	receipt, err := ledger.Do(t.Context(), wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: "k",
		Account:        "user:u1",
		Amount:         1,
		Reason:         "admin_credit",
	})
	if err != nil {
		t.Fatal(err)
	}
	redisError = context.DeadlineExceeded
	state := h.expectOK(http.MethodGet, "/admin/outbox", "").json
	if state["backlog"] != 1.0 {
		t.Errorf("got backlog %v, want 1", state["backlog"])
	}
	age, ok := state["oldestAgeSeconds"].(float64)
	if !ok || age < 0 {
		t.Errorf("got oldestAgeSeconds %v, want a number of at least 0", state["oldestAgeSeconds"])
	}
	if want := receipt.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z"); state["oldestAt"] != want {
		t.Errorf("got oldestAt %v, want %s", state["oldestAt"], want)
	}
	if state["redis"] != redisError.Error() {
		t.Errorf("got redis %v, want %v", state["redis"], redisError)
	}
}

func TestOutboxWithoutDatabase(t *testing.T) {
	ledger, err := wallet.Open(t.Context(), wallettest.SQLite(t), wallet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = ledger.Close()
	if err != nil {
		t.Fatal(err)
	}
	h := serveAdmin(t, coreadmin.Config{Ledger: ledger}, time.Minute)
	a := h.expectProblem(http.StatusServiceUnavailable, "unavailable", http.MethodGet, "/admin/outbox", "")
	if a.header.Get("Retry-After") == "" {
		t.Error("got no Retry-After")
	}
}
