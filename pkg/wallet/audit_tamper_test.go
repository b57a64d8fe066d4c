package wallet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// tampering is a change of rows that bypasses the ledger, and the check that must find it.
type tampering struct {
	name      string
	statement string
	check     wallet.Check
	account   wallet.Account // the account whose own audit must find it, too; empty: none
}

func TestVerifyFindsTamperedAccounts(t *testing.T) {
	t.Parallel()
	testTampering(t, accountTamperings)
}

func TestVerifyFindsTamperedTransactions(t *testing.T) {
	t.Parallel()
	testTampering(t, transactionTamperings)
}

func TestVerifyFindsTamperedEscrows(t *testing.T) {
	t.Parallel()
	testTampering(t, escrowTamperings)
}

func TestVerifyFindsTamperedKeys(t *testing.T) {
	t.Parallel()
	testTampering(t, keyTamperings)
}

func TestVerifyFindsATamperedJournal(t *testing.T) {
	t.Parallel()
	for name, tc := range journalTamperings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledgerdb.Each(t, func(t *testing.T, url string) {
				l := wallettest.Open(t, url, wallet.Config{})
				doEachKindOfTransaction(t, l)
				statement := tc.postgres
				if strings.HasPrefix(url, "sqlite:") {
					statement = tc.sqlite
				}

				tamperRows(t, url, statement)
				report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var details []string
				for _, f := range report.Findings {
					checkEqual(t, "the check of a finding", f.Check, wallet.CheckJournal)
					details = append(details, f.Detail)
				}
				isFound := slices.ContainsFunc(details, func(d string) bool { return strings.Contains(d, tc.want) })
				if !isFound || len(details) > 3 {
					t.Errorf("got findings %q, want one to three, and one with %q", details, tc.want)
				}
			})
		})
	}
}

// journalTamperings change the journal only. The statement for SQLite, whose rows have one transaction
// each, is another one.
var journalTamperings = map[string]struct {
	postgres, sqlite string
	want             string // in the detail of a finding
}{
	"a row deleted": {
		postgres: `DELETE FROM journal WHERE position = (SELECT max(position) FROM journal)`,
		sqlite:   `DELETE FROM journal WHERE position = (SELECT max(position) FROM journal)`,
		want:     "is not in the journal",
	},
	"a row twice": {
		postgres: `INSERT INTO journal (transactions) SELECT transactions FROM journal ORDER BY position DESC LIMIT 1`,
		sqlite:   `INSERT INTO journal (transaction_id) SELECT transaction_id FROM journal ORDER BY position DESC LIMIT 1`,
		want:     "is in the journal 2 times",
	},
	"a row of an unknown transaction": {
		postgres: `INSERT INTO journal (transactions) VALUES ('{01890000-0000-7000-8000-000000000000}')`,
		sqlite:   `INSERT INTO journal (transaction_id) VALUES ('01890000-0000-7000-8000-000000000000')`,
		want:     "does not exist",
	},
	"another transaction in a row": {
		postgres: `UPDATE journal SET transactions[1] = '01890000-0000-7000-8000-000000000000' WHERE position = (SELECT min(position) FROM journal)`,
		sqlite:   `UPDATE journal SET transaction_id = '01890000-0000-7000-8000-000000000000' WHERE position = (SELECT min(position) FROM journal)`,
		want:     "is not in the journal",
	},
	"two rows of an account exchanged": {
		postgres: `WITH r AS (SELECT position, transactions, row_number() OVER (ORDER BY position) AS n FROM journal),
			x AS (SELECT a.position AS p1, a.transactions AS t1, b.position AS p2, b.transactions AS t2 FROM r a, r b WHERE a.n = 13 AND b.n = 14)
			UPDATE journal SET transactions = CASE WHEN position = p1 THEN t2 ELSE t1 END FROM x WHERE position IN (p1, p2)`,
		sqlite: `WITH x AS (SELECT a.position AS p1, a.transaction_id AS t1, b.position AS p2, b.transaction_id AS t2
				FROM journal a, journal b WHERE a.position = 13 AND b.position = 14)
			UPDATE journal SET transaction_id = CASE WHEN position = p1 THEN t2 ELSE t1 END FROM x WHERE position IN (p1, p2)`,
		want: "before the account's previous one",
	},
	"a row without a transaction": {
		postgres: `INSERT INTO journal (transactions) VALUES ('{}')`,
		sqlite:   `INSERT INTO journal (transaction_id) VALUES ('')`,
		want:     "transaction",
	},
}

// testTampering switches the guards of the database off, makes each change on a ledger of its own,
// and audits the ledger.
func testTampering(t *testing.T, cases []tampering) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ledgerdb.Each(t, func(t *testing.T, url string) {
				l := wallettest.Open(t, url, wallet.Config{})
				doEachKindOfTransaction(t, l)
				tamperRows(t, url, tc.statement)

				report, err := l.Verify(t.Context(), wallet.VerifyOptions{})
				if err != nil {
					t.Fatal(err)
				}
				found := slices.ContainsFunc(report.Findings, func(f wallet.Finding) bool { return f.Check == tc.check })
				if !found {
					t.Errorf("got findings %+v, want one of %s", report.Findings, tc.check)
				}
				if tc.account == "" {
					return
				}
				report, err = l.Verify(t.Context(), wallet.VerifyOptions{Account: tc.account})
				if err != nil {
					t.Fatalf("verify %s: %v", tc.account, err)
				}
				if report.OK() {
					t.Errorf("verify %s: got no findings, want some", tc.account)
				}
			})
		})
	}
}

var accountTamperings = []tampering{
	{
		name:      "a balance raised",
		statement: `UPDATE wallets SET available = available + 1 WHERE account = 'user:u1'`,
		check:     wallet.CheckBalance,
		account:   "user:u1",
	},
	{
		name:      "points moved to escrow",
		statement: `UPDATE wallets SET available = available - 1, escrow = escrow + 1 WHERE account = 'user:u1'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "an account's seq moved",
		statement: `UPDATE wallets SET seq = seq + 1 WHERE account = 'user:u1'`,
		check:     wallet.CheckSeq,
		account:   "user:u1",
	},
	{
		name:      "an account's hash replaced",
		statement: `UPDATE wallets SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE account = 'user:u1'`,
		check:     wallet.CheckHash,
		account:   "user:u1",
	},
	{
		name:      "an entry's amount changed",
		statement: `UPDATE entries SET amount = amount + 1, balance_after = balance_after + 1 WHERE account = 'user:u1' AND seq = 1`,
		check:     wallet.CheckSum,
	},
	{
		name:      "the balance before the next entry",
		statement: `UPDATE entries SET amount = amount + 1, balance_after = balance_after + 1 WHERE account = 'user:u1' AND seq = 1`,
		check:     wallet.CheckBefore,
		account:   "user:u1",
	},
	{
		name:      "an entry deleted",
		statement: `DELETE FROM entries WHERE account = 'user:u1' AND seq = 3`,
		check:     wallet.CheckSeq,
		account:   "user:u1",
	},
	{
		name:      "a system entry deleted",
		statement: `DELETE FROM entries WHERE account = 'system:issuance' AND amount = -1000`,
		check:     wallet.CheckTotal,
	},
	{
		name:      "an entry's hash changed",
		statement: `UPDATE entries SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE account = 'user:u1' AND seq = 4`,
		check:     wallet.CheckHash,
		account:   "user:u1",
	},
	{
		name:      "an entry moved in the order",
		statement: `UPDATE entries SET seq = 200 WHERE account = 'user:u1' AND seq = 1`,
		check:     wallet.CheckSeq,
		account:   "user:u1",
	},
	{
		name:      "an entry moved to another account",
		statement: `UPDATE entries SET account = 'user:u2', seq = 100 WHERE account = 'user:u1' AND seq = 1`,
		check:     wallet.CheckEntries,
		account:   "user:u2",
	},
	{
		name:      "an account deleted",
		statement: `DELETE FROM wallets WHERE account = 'user:gone'`,
		check:     wallet.CheckBalance,
	},
	{
		name:      "a system entry moved to another account",
		statement: `UPDATE entries SET account = 'system:issuance' WHERE account = 'system:payout' AND amount = 7`,
		check:     wallet.CheckEntries,
	},
	{
		name:      "a system entry's hash replaced",
		statement: `UPDATE entries SET hash = (SELECT hash FROM wallets WHERE account = 'user:u2') WHERE account = 'system:payout' AND amount = 7`,
		check:     wallet.CheckHash,
	},
}

var transactionTamperings = []tampering{
	{
		name:      "a reason rewritten",
		statement: `UPDATE transactions SET reason = 'other' WHERE operation = 'hold' AND user_account = 'user:u1' AND amount = 100`,
		check:     wallet.CheckHash,
		account:   "user:u1",
	},
	{
		name:      "the chain before a credit",
		statement: `UPDATE transactions SET chains = (SELECT chains FROM transactions WHERE operation = 'debit' AND model_account = 'model:m1') WHERE operation = 'credit' AND user_account = 'user:u1'`,
		check:     wallet.CheckChain,
		account:   "user:u1",
	},
	{
		name:      "the chains of a hold's events",
		statement: `UPDATE transactions SET chains = (SELECT chains FROM transactions WHERE operation = 'hold' AND amount = 50) WHERE operation = 'hold' AND amount = 100`,
		check:     wallet.CheckChain,
		account:   "user:u1",
	},
	{
		name:      "a settlement's chains without the model's",
		statement: `UPDATE transactions SET chains = substr(chains, 1, 24) WHERE operation = 'settle'`,
		check:     wallet.CheckChain,
		account:   "model:m1",
	},
	{
		name:      "a refund without chains",
		statement: `UPDATE transactions SET chains = substr(chains, 1, 0) WHERE operation = 'refund'`,
		check:     wallet.CheckChain,
		account:   "user:u1",
	},
	{
		name:      "a transaction deleted",
		statement: `DELETE FROM transactions WHERE operation = 'refund'`,
		check:     wallet.CheckStray,
		account:   "user:u1",
	},
	{
		name:      "a transaction's amount changed",
		statement: `UPDATE transactions SET amount = 6 WHERE operation = 'credit' AND model_account = 'model:m1'`,
		check:     wallet.CheckEntries,
		account:   "model:m1",
	},
	{
		name:      "a system entry's transaction deleted",
		statement: `DELETE FROM transactions WHERE operation = 'debit' AND amount = 7`,
		check:     wallet.CheckStray,
	},
	{
		name:      "the balance after a settlement",
		statement: `UPDATE transactions SET user_available = user_available + 1 WHERE operation = 'settle'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "the escrow balance after a credit",
		statement: `UPDATE transactions SET user_escrow = 1 WHERE operation = 'credit' AND user_account = 'user:u1'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a settlement with one part",
		statement: `UPDATE transactions SET settle_amount = 1 WHERE operation = 'settle'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a settlement with parts that cancel out",
		statement: `UPDATE transactions SET refund_amount = 5, settle_amount = -5 WHERE operation = 'settle'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a credit with parts",
		statement: `UPDATE transactions SET refund_amount = 500, settle_amount = 500 WHERE operation = 'credit' AND amount = 1000`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a credit with parts that cancel out",
		statement: `UPDATE transactions SET refund_amount = 5, settle_amount = -5 WHERE operation = 'credit' AND user_account = 'user:u1'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a credit with an escrow",
		statement: `UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'credit' AND user_account = 'user:u1'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "a debit with an escrow",
		statement: `UPDATE transactions SET escrow_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE operation = 'debit' AND model_account = 'model:m1'`,
		check:     wallet.CheckEscrow,
		account:   "model:m1",
	},
	{
		name:      "a hold without its escrow",
		statement: `UPDATE transactions SET escrow_id = NULL WHERE operation = 'hold' AND amount = 20`,
		check:     wallet.CheckEscrow,
		account:   "user:u2",
	},
	{
		name:      "a refund of another escrow",
		statement: `UPDATE transactions SET escrow_id = (SELECT id FROM escrows WHERE status = 'settled') WHERE operation = 'refund'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "a partial settlement's parts changed",
		statement: `UPDATE transactions SET refund_amount = 31, settle_amount = -1 WHERE operation = 'partial_settle'`,
		check:     wallet.CheckEntries,
		account:   "user:u1",
	},
	{
		name:      "a settlement without its escrow",
		statement: `UPDATE transactions SET escrow_id = NULL WHERE operation = 'settle'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
}

var escrowTamperings = []tampering{
	{
		name:      "an escrow settled without a transaction",
		statement: `UPDATE escrows SET status = 'settled', closed_by = held_by, settle_amount = amount WHERE status = 'held'`,
		check:     wallet.CheckEscrow,
		account:   "user:u2",
	},
	{
		name:      "an escrow's amount changed",
		statement: `UPDATE escrows SET amount = 21 WHERE status = 'held'`,
		check:     wallet.CheckEscrow,
		account:   "user:u2",
	},
	{
		name:      "an escrow refunded instead of settled",
		statement: `UPDATE escrows SET status = 'refunded', refund_amount = amount, settle_amount = 0, model_account = NULL WHERE status = 'settled'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "an escrow of another model",
		statement: `UPDATE escrows SET model_account = 'model:m2' WHERE status = 'settled'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "an escrow's queue item changed",
		statement: `UPDATE escrows SET queue_item_id = 'other' WHERE status = 'held'`,
		check:     wallet.CheckEscrow,
		account:   "user:u2",
	},
	{
		name:      "two escrows of one hold",
		statement: `UPDATE escrows SET held_by = (SELECT held_by FROM escrows WHERE status = 'held') WHERE status = 'settled'`,
		check:     wallet.CheckEscrow,
		account:   "user:u1",
	},
	{
		name:      "an escrow deleted",
		statement: `DELETE FROM escrows WHERE status = 'settled'`,
		check:     wallet.CheckEscrow,
	},
	{
		name:      "an escrow of an unknown user",
		statement: `UPDATE escrows SET user_account = 'user:nobody' WHERE status = 'settled'`,
		check:     wallet.CheckEscrow,
	},
	{
		name:      "an expiry deleted",
		statement: `DELETE FROM escrow_expiries`,
		check:     wallet.CheckEscrow,
		account:   "user:u2",
	},
	{
		name:      "an escrow without its expiry time",
		statement: `UPDATE escrows SET expires_at = NULL WHERE status = 'held'`,
		check:     wallet.CheckEscrow,
	},
}

var keyTamperings = []tampering{
	{
		name:      "a key of another transaction",
		statement: `UPDATE idempotency_keys SET transaction_id = (SELECT transaction_id FROM idempotency_keys WHERE key = 'c2') WHERE key = 'c1'`,
		check:     wallet.CheckKey,
	},
	{
		name:      "a key of no transaction",
		statement: `UPDATE idempotency_keys SET transaction_id = (SELECT id FROM escrows ORDER BY id LIMIT 1) WHERE key = 'c1'`,
		check:     wallet.CheckKey,
	},
	{
		name:      "a key of another operation",
		statement: `UPDATE idempotency_keys SET operation = 'debit' WHERE key = 'c1'`,
		check:     wallet.CheckKey,
	},
}
