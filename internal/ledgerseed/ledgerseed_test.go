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

// TestLedgerContinuesAHistory fills a ledger, does an operation on it and audits all of it.
func TestLedgerContinuesAHistory(t *testing.T) {
	t.Parallel()
	const user = wallet.Account("user:b00000042")
	url := ledgerdb.Postgres(t)
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	to := time.Now()
	size := ledgerseed.Size{Accounts: 300, Rounds: 7, From: to.AddDate(-7, 0, 0), To: to}
	for range 2 { // the second call has nothing to add
		err := ledgerseed.Fill(t.Context(), db, size, nil)
		if err != nil {
			t.Fatal(err)
		}
	}

	l := wallettest.Open(t, url, wallet.Config{})
	_, err = l.Do(t.Context(), wallet.Op{
		Operation:      wallet.OpCredit,
		Account:        user,
		Amount:         5,
		Reason:         "bonus",
		IdempotencyKey: "k",
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("got findings %+v, want none", report.Findings)
	}
	if report.Accounts != 600 {
		t.Errorf("accounts: got %d, want 600", report.Accounts)
	}
	if want := int64(2*7*300 + 2); report.Entries != want {
		t.Errorf("entries: got %d, want %d", report.Entries, want)
	}

	b, err := l.BalanceAt(t.Context(), user, to.AddDate(0, 0, -1))
	if err != nil {
		t.Fatal(err)
	}
	const maxAvailable = ledgerseed.StartAmount
	const minAvailable = ledgerseed.StartAmount - 3*ledgerseed.HoldAmount
	if b.Available > maxAvailable || b.Available < minAvailable {
		t.Errorf("available a day before: got %d, want %d to %d", b.Available, minAvailable, maxAvailable)
	}
}

func TestFillRefusesAnInvalidSize(t *testing.T) {
	for name, size := range map[string]ledgerseed.Size{
		"no accounts":            {},
		"no rounds":              {Accounts: 10},
		"an even round count":    {Accounts: 10, Rounds: 2},
		"a multiple of 7919":     {Accounts: 7919, Rounds: 1},
		"too many accounts":      {Accounts: 1e9, Rounds: 1},
		"no accounts, one round": {Rounds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			err := ledgerseed.Fill(t.Context(), nil, size, nil)
			if err == nil {
				t.Errorf("%+v was accepted", size)
			}
		})
	}
}
