package wallet_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// doEachKindOfTransaction fills a ledger with every kind of transaction, on six accounts. The tests
// of the audit name its amounts and keys.
func doEachKindOfTransaction(t *testing.T, l *wallet.Ledger) {
	t.Helper()
	mustDo(t, l, newCredit("user:u1", 1000, "c1"))
	mustDo(t, l, newCredit("user:u2", 500, "c2"))
	mustDo(t, l, newCredit("model:m1", 5, "c3"))
	settled := mustDo(t, l, newHold("user:u1", 100, "h1"))
	refunded := mustDo(t, l, newHold("user:u1", 50, "h2"))
	partial := mustDo(t, l, newHold("user:u1", 30, "h3"))
	expiring := newHold("user:u2", 20, "h4")
	expiring.ExpiresIn = time.Hour
	mustDo(t, l, expiring)
	mustDo(t, l, newSettle(settled.EscrowID, "model:m1", 100, "s1"))
	mustDo(t, l, newRefund(refunded.EscrowID, 50, "r1"))
	mustDo(t, l, newPartialSettle(partial.EscrowID, "model:m2", 10, 20, "p1"))
	mustDo(t, l, newDebit("model:m1", 60, "payout", "d1"))
	mustDo(t, l, newDebit("user:u2", 7, "point_expiry", "d2"))
	mustDo(t, l, newCredit("user:gone", 3, "c4"))
	mustDo(t, l, newDebit("user:gone", 3, "chargeback", "d3"))
}

func TestVerifyFindsNothingInASoundLedger(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		doEachKindOfTransaction(t, l)
		// More than a page of transactions, of entries of an account, and of accounts.
		for i := range 1200 {
			mustDoBatch(t, l, []wallet.Op{
				newCredit("user:busy", 1, fmt.Sprint("b", i)),
				newCredit(wallet.Account(fmt.Sprint("user:n", i)), 1, fmt.Sprint("n", i)),
			})
		}

		var seen, expected int64
		report, err := l.Verify(t.Context(), wallet.VerifyOptions{Progress: func(done, of int64) {
			seen = done
			expected = of
		}})
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "findings", report.FindingCount, 0)
		checkEqual(t, "accounts", report.Accounts, 1206)
		checkEqual(t, "transactions", report.Transactions, 2414)
		checkEqual(t, "entries of the last progress", seen, report.Entries)
		checkEqual(t, "expected entries of the last progress", expected, report.Entries)
		checkEqual(t, "issued", report.Totals.Issued.Int64(), 1508+2400)
		checkEqual(t, "paid out", report.Totals.PaidOut.Int64(), 70)
		checkEqual(t, "available", report.Totals.Available.Int64(), 880+473+2400)
		checkEqual(t, "in escrow", report.Totals.Escrow.Int64(), 20)
		checkEqual(t, "earned", report.Totals.Earned.Int64(), 45+20)
	})
}

func TestVerifyOneAccount(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		doEachKindOfTransaction(t, l)
		report, err := l.Verify(t.Context(), wallet.VerifyOptions{Account: "user:u1"})
		if err != nil {
			t.Fatal(err)
		}
		checkEqual(t, "findings", report.FindingCount, 0)
		checkEqual(t, "accounts", report.Accounts, 1)
		checkEqual(t, "entries", report.Entries, 12)

		_, err = l.Verify(t.Context(), wallet.VerifyOptions{Account: "user:nobody"})
		checkError(t, "unknown account", err, wallet.ErrAccountNotFound)
	})
}

// TestVerifySeesOneSnapshot audits a ledger while operations are committed.
func TestVerifySeesOneSnapshot(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for w := range 4 {
			user := wallet.Account(fmt.Sprint("user:w", w))
			model := wallet.Account(fmt.Sprint("model:w", w%2))
			writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					err := creditAndShare(t, l, user, model, fmt.Sprint(w, "-", i))
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for transactions := int64(0); transactions < 300 && !t.Failed(); {
			report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
			if err != nil {
				t.Errorf("verify ledger: %v", err)
				break
			}
			if !report.OK() {
				t.Errorf("verify ledger: got findings %+v, want none", report.Findings)
			}
			transactions = report.Transactions
		}
		cancel()
		writers.Wait()
	})
}

// creditAndShare credits points, holds them, and settles the hold in part.
func creditAndShare(t *testing.T, l *wallet.Ledger, user, model wallet.Account, key string) error {
	_, err := l.Do(t.Context(), newCredit(user, 10, key))
	if err != nil {
		return fmt.Errorf("credit: %w", err)
	}
	held, err := l.Do(t.Context(), newHold(user, 10, key))
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	_, err = l.Do(t.Context(), newPartialSettle(held.EscrowID, model, 4, 6, key))
	if err != nil {
		return fmt.Errorf("partial settlement: %w", err)
	}
	return nil
}

// TestVerifyAddsBeyond64Bits has more than 1,024 balances of 53 bits. Their sum needs more than 64.
func TestVerifyAddsBeyond64Bits(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		ops := make([]wallet.Op, 1100)
		for i := range ops {
			ops[i] = newCredit(wallet.Account(fmt.Sprint("user:n", i)), wallet.MaxAmount, fmt.Sprint(i))
		}
		mustDoBatch(t, l, ops)
		report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !report.OK() {
			t.Fatalf("got findings %+v, want none", report.Findings)
		}
		const want = "9907919180215090100"
		checkEqual(t, "issued", report.Totals.Issued.String(), want)
		checkEqual(t, "available", report.Totals.Available.String(), want)

		tamperRows(t, url, `UPDATE entries SET amount = -9223372036854775807 WHERE account = 'system:issuance'`)
		report, err = l.Verify(t.Context(), wallet.VerifyOptions{})
		if err != nil {
			t.Fatalf("verify with the largest amounts: %v", err)
		}
		checkEqual(t, "ledger with the largest amounts is sound", report.OK(), false)
	})
}

// rowTamperings change rows. Each changed row is one finding.
var rowTamperings = map[string]struct {
	statement string
	check     wallet.Check
	rows      string // selects the ids of their transactions
}{
	"credits with an escrow": {
		statement: `UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'credit'`,
		check:     wallet.CheckEscrow,
		rows:      `SELECT id FROM transactions WHERE operation = 'credit'`,
	},
	"debits in parts": {
		statement: `UPDATE transactions SET refund_amount = -5, settle_amount = 5 WHERE operation = 'debit'`,
		check:     wallet.CheckEntries,
		rows:      `SELECT id FROM transactions WHERE operation = 'debit'`,
	},
	"refunds with a part": {
		statement: `UPDATE transactions SET refund_amount = amount WHERE operation = 'refund'`,
		check:     wallet.CheckEntries,
		rows:      `SELECT id FROM transactions WHERE operation = 'refund'`,
	},
	"two keys of one transaction": {
		statement: `UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key = 'c1'`,
		check:     wallet.CheckKey,
		rows:      `SELECT transaction_id FROM idempotency_keys WHERE key IN ('c1', 'c2')`,
	},
	"a key of no transaction": {
		statement: `UPDATE idempotency_keys SET transaction_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE key = 'c1'`,
		check:     wallet.CheckKey,
		rows:      `SELECT transaction_id FROM idempotency_keys WHERE key = 'c1'`,
	},
	"a key of another operation": {
		statement: `UPDATE idempotency_keys SET operation = 'debit' WHERE key = 'h2'`,
		check:     wallet.CheckKey,
		rows:      `SELECT transaction_id FROM idempotency_keys WHERE key = 'h2'`,
	},
	"three keys of one transaction, one of another operation": {
		statement: `UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key IN ('c1', 'h2')`,
		check:     wallet.CheckKey,
		rows:      `SELECT transaction_id FROM idempotency_keys WHERE key IN ('c1', 'c2', 'h2')`,
	},
}

// TestVerifyNamesEachChangedRow wants one finding for each changed row, and no others.
func TestVerifyNamesEachChangedRow(t *testing.T) {
	t.Parallel()
	for name, tc := range rowTamperings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledgerdb.Each(t, func(t *testing.T, url string) {
				l := wallettest.Open(t, url, wallet.Config{})
				doEachKindOfTransaction(t, l)
				tamperRows(t, url, tc.statement)
				report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, f := range report.Findings {
					if f.Check != tc.check {
						t.Errorf("got finding %+v, want only findings of %s", f, tc.check)
					}
					got = append(got, f.TransactionID)
				}
				want := readTransactionIDs(t, url, tc.rows)
				if len(want) == 0 {
					t.Fatal("the statement changed no rows")
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("transactions of the findings: got %q, want %q", got, want)
				}
			})
		})
	}
}

func readTransactionIDs(t *testing.T, url, query string) []string {
	t.Helper()
	db := openDatabase(t, url)
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var ids []string
	for rows.Next() {
		var id string
		err := rows.Scan(&id)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	err = rows.Err()
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// openDatabase connects to the ledger's database, without the ledger.
func openDatabase(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver := "postgres"
	dsn := url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver = "sqlite"
		dsn = path + "?_pragma=busy_timeout(300000)" // the ledger may be writing
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// tamperRows switches the guards of the database off and changes rows, which must exist.
func tamperRows(t *testing.T, url, statement string) {
	t.Helper()
	guardsOff := []string{
		`ALTER TABLE entries DISABLE TRIGGER USER`,
		`ALTER TABLE transactions DISABLE TRIGGER USER`,
		`ALTER TABLE journal DISABLE TRIGGER USER`,
	}
	if strings.HasPrefix(url, "sqlite:") {
		guardsOff = []string{
			`DROP TRIGGER entries_no_update`,
			`DROP TRIGGER entries_no_delete`,
			`DROP TRIGGER transactions_no_update`,
			`DROP TRIGGER transactions_no_delete`,
			`DROP TRIGGER journal_no_update`,
			`DROP TRIGGER journal_no_delete`,
		}
	}
	db := openDatabase(t, url)
	for _, s := range guardsOff {
		_, err := db.ExecContext(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	result, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if n, _ := result.RowsAffected(); n == 0 {
		t.Fatalf("%s: changed no rows", statement)
	}
}
