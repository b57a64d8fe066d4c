package wallet_test

import (
	"database/sql"
	"errors"
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

// fillLedger makes every kind of transaction.
func fillLedger(t *testing.T, l *wallet.Ledger) {
	t.Helper()
	mustDo(t, l, credit("user:u1", 1000, "c1"))
	mustDo(t, l, credit("user:u2", 500, "c2"))
	mustDo(t, l, credit("model:m1", 5, "c3"))
	h1, h2, h3 := mustDo(t, l, hold("user:u1", 100, "h1")), mustDo(t, l, hold("user:u1", 50, "h2")), mustDo(t, l, hold("user:u1", 30, "h3"))
	timed := hold("user:u2", 20, "h4")
	timed.ExpiresIn = time.Hour
	mustDo(t, l, timed)
	mustDo(t, l, settle(h1.EscrowID, "model:m1", 100, "s1"))
	mustDo(t, l, refund(h2.EscrowID, 50, "r1"))
	mustDo(t, l, partial(h3.EscrowID, "model:m2", 10, 20, "p1"))
	mustDo(t, l, wallet.Op{Operation: wallet.OpDebit, Account: "model:m1", Amount: 60, Reason: "payout", IdempotencyKey: "d1"})
	mustDo(t, l, wallet.Op{Operation: wallet.OpDebit, Account: "user:u2", Amount: 7, Reason: "point_expiry", IdempotencyKey: "d2"})
	mustDo(t, l, credit("user:gone", 3, "c4"))
	mustDo(t, l, wallet.Op{Operation: wallet.OpDebit, Account: "user:gone", Amount: 3, Reason: "chargeback", IdempotencyKey: "d3"})
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		fillLedger(t, l)
		for i := range 1200 { // more than a page of transactions, of entries of an account, and of accounts
			if r := l.DoBatch(t.Context(), []wallet.Op{credit("user:busy", 1, fmt.Sprint("b", i)), credit(wallet.Account(fmt.Sprint("user:n", i)), 1, fmt.Sprint("n", i))}); r[0].Err != nil || r[1].Err != nil {
				t.Fatal(r)
			}
		}
		var seen, expected int64
		r, err := l.Verify(t.Context(), wallet.VerifyOptions{Progress: func(done, of int64) { seen, expected = done, of }})
		if err != nil || !r.OK() || r.Accounts != 1206 || r.Transactions != 2414 {
			t.Errorf("%+v, %v", r, err)
		}
		if r.Entries != expected || seen != expected {
			t.Errorf("%d of %d entries were seen, the last progress said %d", r.Entries, expected, seen)
		}
		if got, want := fmt.Sprint(*r.Totals), fmt.Sprintf("{%d %d %d %d %d}", 1508+2400, 70, 880+473+2400, 20, 45+20); got != want {
			t.Errorf("totals %s, want %s", got, want)
		}
		if r, err := l.Verify(t.Context(), wallet.VerifyOptions{Account: "user:u1"}); err != nil || !r.OK() || r.Accounts != 1 || r.Entries != 12 {
			t.Errorf("one account: %+v, %v", r, err)
		}
		if _, err := l.Verify(t.Context(), wallet.VerifyOptions{Account: "user:nobody"}); !errors.Is(err, wallet.ErrAccountNotFound) {
			t.Errorf("unknown account: %v", err)
		}
	})
}

// An audit sees one moment, whatever is committed meanwhile.
func TestVerifyBesideWriters(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 4 {
			user, model := wallet.Account(fmt.Sprint("user:w", w)), wallet.Account(fmt.Sprint("model:w", w%2))
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprint(w, "-", i)
					if _, err := l.Do(t.Context(), credit(user, 10, key)); err != nil {
						t.Error(err)
						return
					}
					h, err := l.Do(t.Context(), hold(user, 10, key))
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := l.Do(t.Context(), partial(h.EscrowID, model, 4, 6, key)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for transactions := int64(0); transactions < 300 && !t.Failed(); {
			r, err := l.Verify(t.Context(), wallet.VerifyOptions{})
			if err != nil || !r.OK() {
				t.Errorf("%+v, %v", r, err)
				break
			}
			transactions = r.Transactions
		}
		close(stop)
		wg.Wait()
	})
}

// Balances fit 53 bits; the sum of more than 1,024 such does not fit 64.
func TestVerifyAddsUpBeyond64Bits(t *testing.T) {
	t.Parallel()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{})
		ops := make([]wallet.Op, 1100)
		for i := range ops {
			ops[i] = credit(wallet.Account(fmt.Sprint("user:n", i)), wallet.MaxAmount, fmt.Sprint(i))
		}
		for _, r := range l.DoBatch(t.Context(), ops) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		r, err := l.Verify(t.Context(), wallet.VerifyOptions{})
		if err != nil || !r.OK() {
			t.Fatalf("%+v, %v", r, err)
		}
		if want := "9907919180215090100"; r.Totals.Issued.String() != want || r.Totals.Available.String() != want {
			t.Errorf("totals %v, want %s issued and available", r.Totals, want)
		}
		tamper(t, url, `UPDATE entries SET amount = -9223372036854775807 WHERE account = 'system:issuance'`)
		if r, err := l.Verify(t.Context(), wallet.VerifyOptions{}); err != nil || r.OK() {
			t.Errorf("with the largest amounts: %+v, %v", r, err)
		}
	})
}

// TestVerifyFindsTampering changes rows behind the ledger's back, with its
// guards switched off, and wants each change found by the check that is made for it.
func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	const u1 = `account = 'user:u1'`
	for name, tc := range map[string]struct {
		statement string
		want      wallet.Check
		account   wallet.Account
	}{
		"a balance raised":              {`UPDATE wallets SET available = available + 1 WHERE ` + u1, wallet.CheckBalance, "user:u1"},
		"points moved to escrow":        {`UPDATE wallets SET available = available - 1, escrow = escrow + 1 WHERE ` + u1, wallet.CheckEscrow, "user:u1"},
		"an account's seq moved":        {`UPDATE wallets SET seq = seq + 1 WHERE ` + u1, wallet.CheckSeq, "user:u1"},
		"an account's hash replaced":    {`UPDATE wallets SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE ` + u1, wallet.CheckHash, "user:u1"},
		"an entry's amount changed":     {`UPDATE entries SET amount = amount + 1, balance_after = balance_after + 1 WHERE ` + u1 + ` AND seq = 1`, wallet.CheckSum, "user:u1"},
		"the next balance before too":   {`UPDATE entries SET amount = amount + 1, balance_after = balance_after + 1 WHERE ` + u1 + ` AND seq = 1`, wallet.CheckBefore, "user:u1"},
		"an entry deleted":              {`DELETE FROM entries WHERE ` + u1 + ` AND seq = 3`, wallet.CheckSeq, "user:u1"},
		"a system entry deleted":        {`DELETE FROM entries WHERE account = 'system:issuance' AND amount = -1000`, wallet.CheckTotal, ""},
		"an entry's hash changed":       {`UPDATE entries SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE ` + u1 + ` AND seq = 4`, wallet.CheckHash, "user:u1"},
		"an entry moved in the order":   {`UPDATE entries SET seq = 200 WHERE ` + u1 + ` AND seq = 1`, wallet.CheckSeq, "user:u1"},
		"an entry given away":           {`UPDATE entries SET account = 'user:u2', seq = 100 WHERE ` + u1 + ` AND seq = 1`, wallet.CheckEntries, "user:u2"},
		"a reason rewritten":            {`UPDATE transactions SET reason = 'other' WHERE operation = 'hold' AND user_account = 'user:u1' AND amount = 100`, wallet.CheckHash, "user:u1"},
		"a transaction deleted":         {`DELETE FROM transactions WHERE operation = 'refund'`, wallet.CheckStray, "user:u1"},
		"a transaction's amount":        {`UPDATE transactions SET amount = 6 WHERE operation = 'credit' AND model_account = 'model:m1'`, wallet.CheckEntries, "model:m1"},
		"an escrow settled on the side": {`UPDATE escrows SET status = 'settled', closed_by = held_by, settle_amount = amount WHERE status = 'held'`, wallet.CheckEscrow, "user:u2"},
		"an escrow's amount":            {`UPDATE escrows SET amount = 21 WHERE status = 'held'`, wallet.CheckEscrow, "user:u2"},
		"an account deleted":            {`DELETE FROM wallets WHERE account = 'user:gone'`, wallet.CheckBalance, ""},
		"points issued, not paid out":   {`UPDATE entries SET account = 'system:issuance' WHERE account = 'system:payout' AND amount = 7`, wallet.CheckEntries, ""},
		"a system entry's hash":         {`UPDATE entries SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE account = 'system:payout' AND amount = 7`, wallet.CheckHash, ""},
		"a system entry's transaction":  {`DELETE FROM transactions WHERE operation = 'debit' AND amount = 7`, wallet.CheckStray, ""},
		"what a settlement left":        {`UPDATE transactions SET user_available = user_available + 1 WHERE operation = 'settle'`, wallet.CheckEntries, "user:u1"},
		"what a credit left in escrow":  {`UPDATE transactions SET user_escrow = 1 WHERE operation = 'credit' AND user_account = 'user:u1'`, wallet.CheckEntries, "user:u1"},
		"a settlement in parts":         {`UPDATE transactions SET settle_amount = 1 WHERE operation = 'settle'`, wallet.CheckEntries, "user:u1"},
		"a settlement of nothing":       {`UPDATE transactions SET refund_amount = 5, settle_amount = -5 WHERE operation = 'settle'`, wallet.CheckEntries, "user:u1"},
		"a credit in parts":             {`UPDATE transactions SET refund_amount = 500, settle_amount = 500 WHERE operation = 'credit' AND amount = 1000`, wallet.CheckEntries, "user:u1"},
		"a credit's parts of nothing":   {`UPDATE transactions SET refund_amount = 5, settle_amount = -5 WHERE operation = 'credit' AND user_account = 'user:u1'`, wallet.CheckEntries, "user:u1"},
		"a credit of an escrow":         {`UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'credit' AND user_account = 'user:u1'`, wallet.CheckEscrow, "user:u1"},
		"a debit of an escrow":          {`UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'debit' AND model_account = 'model:m1'`, wallet.CheckEscrow, "model:m1"},
		"a hold without its escrow":     {`UPDATE transactions SET escrow_id = NULL WHERE operation = 'hold' AND amount = 20`, wallet.CheckEscrow, "user:u2"},
		"an end of another escrow":      {`UPDATE transactions SET escrow_id = (SELECT id FROM escrows WHERE status = 'settled') WHERE operation = 'refund'`, wallet.CheckEscrow, "user:u1"},
		"a key of another transaction":  {`UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key = 'c1'`, wallet.CheckKey, ""},
		"a key of no transaction":       {`UPDATE idempotency_keys SET transaction_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE key = 'c1'`, wallet.CheckKey, ""},
		"a key of another operation":    {`UPDATE idempotency_keys SET operation = 'debit' WHERE key = 'c1'`, wallet.CheckKey, ""},
		"a partial settlement's parts":  {`UPDATE transactions SET refund_amount = 31, settle_amount = -1 WHERE operation = 'partial_settle'`, wallet.CheckEntries, "user:u1"},
		"an end without its escrow":     {`UPDATE transactions SET escrow_id = NULL WHERE operation = 'settle'`, wallet.CheckEscrow, "user:u1"},
		"an escrow's end rewritten":     {`UPDATE escrows SET status = 'refunded', refund_amount = amount, settle_amount = 0, model_account = NULL WHERE status = 'settled'`, wallet.CheckEscrow, "user:u1"},
		"another model earned":          {`UPDATE escrows SET model_account = 'model:m2' WHERE status = 'settled'`, wallet.CheckEscrow, "user:u1"},
		"an escrow's queue item":        {`UPDATE escrows SET queue_item_id = 'other' WHERE status = 'held'`, wallet.CheckEscrow, "user:u2"},
		"two escrows for one":           {`UPDATE escrows SET held_by = (SELECT held_by FROM escrows WHERE status = 'held') WHERE status = 'settled'`, wallet.CheckEscrow, "user:u1"},
		"an escrow deleted":             {`DELETE FROM escrows WHERE status = 'settled'`, wallet.CheckEscrow, ""},
		"an escrow of nobody":           {`UPDATE escrows SET user_account = 'user:nobody' WHERE status = 'settled'`, wallet.CheckEscrow, ""},
		"an escrow that stays":          {`DELETE FROM escrow_expiries`, wallet.CheckEscrow, "user:u2"},
		"an escrow that never expires":  {`UPDATE escrows SET expires_at = NULL WHERE status = 'held'`, wallet.CheckEscrow, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledgerdb.Each(t, func(t *testing.T, url string) {
				l := wallettest.Open(t, url, wallet.Config{})
				fillLedger(t, l)
				tamper(t, url, tc.statement)
				r, err := l.Verify(t.Context(), wallet.VerifyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(r.Findings, func(f wallet.Finding) bool { return f.Check == tc.want }) {
					t.Errorf("no finding of %s in %+v", tc.want, r.Findings)
				}
				if tc.account == "" || tc.want == wallet.CheckSum {
					return
				}
				one, err := l.Verify(t.Context(), wallet.VerifyOptions{Account: tc.account})
				if err != nil || one.OK() {
					t.Errorf("verifying the account alone: %+v, %v", one, err)
				}
			})
		})
	}
}

// TestVerifyNamesRows wants one finding for each changed row, and nothing else.
func TestVerifyNamesRows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		statement string
		check     wallet.Check
		rows      string // their transactions
	}{
		"credits of an escrow":  {`UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'credit'`, wallet.CheckEscrow, `SELECT id FROM transactions WHERE operation = 'credit'`},
		"debits in parts":       {`UPDATE transactions SET refund_amount = -5, settle_amount = 5 WHERE operation = 'debit'`, wallet.CheckEntries, `SELECT id FROM transactions WHERE operation = 'debit'`},
		"refunds with a part":   {`UPDATE transactions SET refund_amount = amount WHERE operation = 'refund'`, wallet.CheckEntries, `SELECT id FROM transactions WHERE operation = 'refund'`},
		"two keys of one":       {`UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key = 'c1'`, wallet.CheckKey, `SELECT transaction_id FROM idempotency_keys WHERE key IN ('c1', 'c2')`},
		"keys of nothing":       {`UPDATE idempotency_keys SET transaction_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE key = 'c1'`, wallet.CheckKey, `SELECT transaction_id FROM idempotency_keys WHERE key = 'c1'`},
		"a key's operation":     {`UPDATE idempotency_keys SET operation = 'debit' WHERE key = 'h2'`, wallet.CheckKey, `SELECT transaction_id FROM idempotency_keys WHERE key = 'h2'`},
		"three keys, one wrong": {`UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key IN ('c1', 'h2')`, wallet.CheckKey, `SELECT transaction_id FROM idempotency_keys WHERE key IN ('c1', 'c2', 'h2')`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledgerdb.Each(t, func(t *testing.T, url string) {
				l := wallettest.Open(t, url, wallet.Config{})
				fillLedger(t, l)
				tamper(t, url, tc.statement)
				r, err := l.Verify(t.Context(), wallet.VerifyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, f := range r.Findings {
					if f.Check != tc.check {
						t.Errorf("also found: %+v", f)
					}
					got = append(got, f.TransactionID)
				}
				want := transactionIDs(t, url, tc.rows)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) || len(want) == 0 {
					t.Errorf("%+v, want one of each of %q", r.Findings, want)
				}
			})
		})
	}
}

func transactionIDs(t *testing.T, url, query string) []string {
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
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func openDatabase(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver, dsn := "postgres", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, dsn = "sqlite", path
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func tamper(t *testing.T, url, statement string) {
	t.Helper()
	off := []string{`ALTER TABLE entries DISABLE TRIGGER USER`, `ALTER TABLE transactions DISABLE TRIGGER USER`}
	if strings.HasPrefix(url, "sqlite:") {
		off = []string{`DROP TRIGGER entries_no_update`, `DROP TRIGGER entries_no_delete`, `DROP TRIGGER transactions_no_update`, `DROP TRIGGER transactions_no_delete`}
	}
	db := openDatabase(t, url)
	for _, s := range append(off, statement) {
		res, err := db.ExecContext(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if n, _ := res.RowsAffected(); s == statement && n == 0 {
			t.Fatalf("%s changed nothing", s)
		}
	}
}
