package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"

	"github.com/jmoiron/sqlx"
)

// Check names a property that Verify checks.
type Check string

// The checks.
const (
	CheckSum     Check = "transaction_sum" // a transaction's entries sum to zero
	CheckEntries Check = "entries"         // a transaction's entries are those that follow from it
	CheckBalance Check = "balance"         // a balance equals the sum of its entries
	CheckBefore  Check = "balance_before"  // balance before equals the previous balance after
	CheckSeq     Check = "seq"             // seq has no gap and fits the events
	CheckHash    Check = "hash"            // the hash chain holds
	CheckEscrow  Check = "escrow"          // the escrow balance equals the held escrows, and escrows are as their transactions made them
	CheckTotal   Check = "total"           // issued = available + escrow + earned + paid out
	CheckStray   Check = "stray_entry"     // an entry belongs to a transaction
	CheckKey     Check = "idempotency_key" // a key names a transaction of its operation, and no other key does
)

// A Finding is one row, or sum, that fails a check.
type Finding struct {
	Check         Check   `json:"check"`
	Account       Account `json:"account,omitempty"`
	TransactionID string  `json:"transactionId,omitempty"`
	Seq           int64   `json:"seq,omitempty"`
	Detail        string  `json:"detail"`
}

// Totals says where all points are. A balance fits 53 bits; the sum of all balances may not fit 64.
type Totals struct {
	Issued    *big.Int `json:"issued"`
	PaidOut   *big.Int `json:"paidOut"`
	Available *big.Int `json:"available"`
	Escrow    *big.Int `json:"escrow"`
	Earned    *big.Int `json:"earned"`
}

// Balanced reports whether issued = available + escrow + earned + paid out.
func (t *Totals) Balanced() bool {
	sum := new(big.Int)
	for _, n := range []*big.Int{t.Available, t.Escrow, t.Earned, t.PaidOut} {
		sum.Add(sum, n)
	}
	return t.Issued.Cmp(sum) == 0
}

// Report is the result of Verify. It lists at most MaxFindings findings and counts all of them.
type Report struct {
	Accounts     int64     `json:"accounts"`
	Transactions int64     `json:"transactions"` // 0 when one account was verified
	Entries      int64     `json:"entries"`
	Totals       *Totals   `json:"totals,omitempty"` // nil when one account was verified
	Findings     []Finding `json:"findings"`
	FindingCount int64     `json:"findingCount"`
}

// OK reports whether there is no finding.
func (r *Report) OK() bool { return r.FindingCount == 0 }

// MaxFindings is how many findings a report lists.
const MaxFindings = 1000

// VerifyOptions narrows Verify.
type VerifyOptions struct {
	Account  Account                    // only this account. Defaults to all accounts and all transactions.
	Progress func(done, expected int64) // is called now and then; expected is an estimate
}

// Verify checks the whole ledger, or one account, in bounded memory and on one consistent snapshot,
// while operations go on. An error means that the ledger could not be checked. The report lists the
// faults of the ledger. An unknown account is ErrAccountNotFound.
func (l *Ledger) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	s := l.store.sharedQueries()
	tx, err := s.openSnapshot(ctx)
	if err != nil {
		return nil, l.queryError("verify", err)
	}
	defer func() { _ = tx.Rollback() }()
	v := &verifier{ctx: ctx, tx: tx, opts: o, report: &Report{Findings: []Finding{}}}
	if o.Account != "" {
		err = v.checkOneAccount()
	} else {
		err = v.checkEverything()
	}
	if err != nil {
		return nil, l.queryError("verify", err)
	}

	return v.report, nil
}

// snapshotSettings let an audit take its time and read whole tables.
var snapshotSettings = []string{
	"statement_timeout = 0",
	"idle_in_transaction_session_timeout = 0",
	"enable_seqscan = on",
	"enable_hashjoin = on",
	"max_parallel_workers_per_gather = 2",
}

// openSnapshot opens a read-only transaction that sees one moment.
func (s *sqlStore) openSnapshot(ctx context.Context) (*sqlx.Tx, error) {
	if s.isSQLite() {
		return s.db.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
	}

	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}

	for _, setting := range snapshotSettings {
		if _, err := tx.ExecContext(ctx, "SET LOCAL "+setting); err != nil {
			_ = tx.Rollback()
			return nil, err
		}
	}

	return tx, nil
}

// verifier is one call of Verify. It compares what it counts on the way through the accounts and
// through the transactions with the number of rows that are stored.
type verifier struct {
	ctx    context.Context
	tx     *sqlx.Tx
	opts   VerifyOptions
	report *Report

	expectedEntries int64 // about
	storedEntries   int64
	accountEntries  int64 // of accounts that have a wallet
	derivedLegs     int64 // party entries that follow from the transactions
	derivedSystem   int64 // system entries that follow from the transactions

	escrowsSeen   int64 // of accounts that have a wallet
	escrowsClosed int64 // of these, those that are closed
	expiriesSeen  int64 // of these, those that expire
	holds         int64 // transactions that opened an escrow
	closes        int64 // transactions that closed one
}

func (v *verifier) addFinding(f Finding) {
	v.report.FindingCount++
	if len(v.report.Findings) < MaxFindings {
		v.report.Findings = append(v.report.Findings, f)
	}
}

func (v *verifier) reportProgress() {
	if v.opts.Progress != nil {
		v.opts.Progress(v.report.Entries, v.expectedEntries)
	}
}

const verifyPageSize = 1000

// sumColumns add amounts up in two halves. Neither overflows 64 bits before 2^36 rows of any
// amount, and both databases can compute it.
const sumColumns = `CAST(coalesce(sum(amount / 67108864), 0) AS bigint) AS high, CAST(coalesce(sum(amount % 67108864), 0) AS bigint) AS low`

// splitSum has the two halves.
type splitSum struct {
	High int64 `db:"high"` // times 2^26
	Low  int64 `db:"low"`
}

func (s splitSum) toBig() *big.Int {
	n := big.NewInt(s.High)
	n.Lsh(n, 26)
	return addTo(n, s.Low)
}

func addTo(total *big.Int, n int64) *big.Int { return total.Add(total, big.NewInt(n)) }

func (v *verifier) checkOneAccount() error {
	var r walletRow
	err := v.tx.GetContext(v.ctx, &r, walletSQL, string(v.opts.Account))
	if errors.Is(err, sql.ErrNoRows) {
		return ErrAccountNotFound
	}
	if err != nil {
		return err
	}

	w := r.toWallet()
	v.expectedEntries = w.Seq
	return v.checkAccount(&w)
}

func (v *verifier) checkEverything() error {
	err := v.tx.GetContext(v.ctx, &v.storedEntries, `SELECT count(*) FROM entries`)
	if err != nil {
		return err
	}

	v.expectedEntries = v.storedEntries
	totals := &Totals{
		Issued:    new(big.Int),
		PaidOut:   new(big.Int),
		Available: new(big.Int),
		Escrow:    new(big.Int),
		Earned:    new(big.Int),
	}

	err = v.checkAccounts(totals)
	if err != nil {
		return err
	}

	err = v.checkTransactions()
	if err != nil {
		return err
	}

	derived := v.derivedLegs + v.derivedSystem
	if v.storedEntries != derived {
		v.addFinding(Finding{
			Check:  CheckStray,
			Detail: fmt.Sprintf("%d entries are stored, %d follow from the transactions", v.storedEntries, derived),
		})
	}

	err = v.checkEscrowCounts()
	if err != nil {
		return err
	}

	err = v.checkKeys()
	if err != nil {
		return err
	}

	return v.checkTotals(totals)
}

const walletsPageSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account > $1 ORDER BY account LIMIT $2`

// checkAccounts adds the accounts' balances to the totals.
func (v *verifier) checkAccounts(totals *Totals) error {
	above := ""
	for {
		var rows []walletRow
		err := v.tx.SelectContext(v.ctx, &rows, walletsPageSQL, above, verifyPageSize)
		if err != nil {
			return err
		}

		for i := range rows {
			w := rows[i].toWallet()
			addTo(totals.Available, w.Available)
			addTo(totals.Escrow, w.Escrow)
			addTo(totals.Earned, w.Earned)
			err := v.checkAccount(&w)
			if err != nil {
				return err
			}
		}

		if len(rows) < verifyPageSize {
			v.accountEntries = v.report.Entries
			return nil
		}

		above = rows[len(rows)-1].Account
	}
}
