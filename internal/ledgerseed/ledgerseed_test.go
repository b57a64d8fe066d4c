package ledgerseed_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/ledgerseed"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// The ledger's own audit finds nothing wrong with the history, and the ledger
// goes on from there.
func TestHistoryIsALedgers(t *testing.T) {
	t.Parallel()
	url := ledgerdb.Postgres(t)
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	to := time.Now()
	size := ledgerseed.Size{Accounts: 300, Rounds: 7, From: to.AddDate(-7, 0, 0), To: to}
	for range 2 { // the second finds all there
		if err := ledgerseed.Fill(t.Context(), db, size, nil); err != nil {
			t.Fatal(err)
		}
	}
	l := wallettest.Open(t, url, wallet.Config{})
	if _, err := l.Do(t.Context(), wallet.Op{Operation: wallet.OpCredit, Account: "user:b00000042", Amount: 5, Reason: "bonus", IdempotencyKey: "k"}); err != nil {
		t.Fatal(err)
	}
	r, err := l.Verify(t.Context(), wallet.VerifyOptions{})
	if err != nil || !r.OK() || r.Accounts != 600 || r.Entries != 2*7*300+2 {
		t.Errorf("%+v, %v", r, err)
	}
	b, err := l.BalanceAt(t.Context(), "user:b00000042", to.AddDate(0, 0, -1))
	if err != nil || b.Available > ledgerseed.StartAmount || b.Available < ledgerseed.StartAmount-3*ledgerseed.HoldAmount {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestImpossibleSizes(t *testing.T) {
	for _, s := range []ledgerseed.Size{{}, {Accounts: 10}, {Accounts: 10, Rounds: 2}, {Accounts: 7919, Rounds: 1}, {Accounts: 1e9, Rounds: 1}} {
		if err := ledgerseed.Fill(t.Context(), nil, s, nil); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}
