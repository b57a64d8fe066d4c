package coreapi_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

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
			h := serve(t, l, broken{l, c.err})
			a := h.refused(c.status, c.code, request{path: "/v1/accounts/user:u1/holds", body: holdBody(1)})
			if got := a.header.Get("Retry-After") != ""; got != c.retryAfter {
				t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
			}
			if d, _ := a.json["detail"].(string); c.code == "internal" && d == c.err.Error() {
				t.Error("the inside of an error went to the client")
			}
			p := h.result(h.batch("", creditItem("k", 1))[0], float64(c.status), c.code)
			if got := p["retryAfterSeconds"] != nil; got != c.retryAfter || p["detail"] != a.json["detail"] {
				t.Errorf("in a batch: %v", p)
			}
		})
	}
}
