package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"

	"github.com/jmoiron/sqlx"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// Check names a property that Verify checks.
type Check string

// The checks of Verify. The comments state what must be true.
const (
	CheckSum     Check = "transaction_sum" // the entries of a transaction sum to zero
	CheckEntries Check = "entries"         // the entries of a transaction match the transaction
	CheckBalance Check = "balance"         // a balance equals the sum of its entries
	CheckBefore  Check = "balance_before"  // a balance before equals the previous balance after
	CheckSeq     Check = "seq"             // the seqs of an account have no gap and match its events
	CheckHash    Check = "hash"            // the hash chain of an account is intact
	CheckChain   Check = "chain"           // the chains of a transaction's events match the hashes of the entries
	CheckEscrow  Check = "escrow"          // an escrow balance equals the sum of the held escrows; an escrow matches its transactions
	CheckTotal   Check = "total"           // issued = available + escrow + earned + paid out
	CheckStray   Check = "stray_entry"     // an entry belongs to a transaction
	CheckKey     Check = "idempotency_key" // a key belongs to one transaction of its operation
	CheckJournal Check = "journal"         // the journal has each transaction once, and those of an account in the order of its seq
)

// Finding is one row or one sum that fails a check.
type Finding struct {
	Check         Check   `json:"check"`
	Account       Account `json:"account,omitempty"`
	TransactionID string  `json:"transactionId,omitempty"`
	Seq           int64   `json:"seq,omitempty"`
	Detail        string  `json:"detail"`
}

// Totals holds the sums of all points in the ledger. They are big integers because the sum of many
// balances may exceed 64 bits.
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
	sum.Add(sum, t.Available)
	sum.Add(sum, t.Escrow)
	sum.Add(sum, t.Earned)
	sum.Add(sum, t.PaidOut)
	return t.Issued.Cmp(sum) == 0
}

// Report is the result of Verify.
type Report struct {
	Accounts     int64     `json:"accounts"`
	Transactions int64     `json:"transactions"` // 0 if one account was verified
	Entries      int64     `json:"entries"`
	Totals       *Totals   `json:"totals,omitempty"` // nil if one account was verified
	Findings     []Finding `json:"findings"`         // the first MaxFindings findings
	FindingCount int64     `json:"findingCount"`     // the number of all findings
}

// OK reports whether there is no finding.
func (r *Report) OK() bool { return r.FindingCount == 0 }

// MaxFindings is the maximum number of findings that a report lists.
const MaxFindings = 1000

// VerifyOptions holds the options of Verify.
type VerifyOptions struct {
	// Account limits Verify to one account. Defaults to all accounts and all transactions.
	Account Account

	// Progress is called regularly with the number of checked entries and the estimated number of
	// all entries. Defaults to none.
	Progress func(done, expected int64)
}

// Verify checks the whole ledger, or one account. It reads one consistent snapshot in bounded
// memory and does not block operations. The report lists the faults of the ledger. An error means
// that the ledger could not be checked. If the account does not exist, the error is
// ErrAccountNotFound.
func (l *Ledger) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	s := l.store.sharedQueries()
	tx, err := s.openSnapshot(ctx)
	if err != nil {
		return nil, l.queryError("open snapshot", err)
	}
	defer func() { _ = tx.Rollback() }()

	v := &verifier{
		ctx:      ctx,
		tx:       tx,
		isSQLite: s.isSQLite(),
		opts:     o,
		report:   &Report{Findings: []Finding{}},
	}

	if o.Account != "" {
		err = v.checkOneAccount()
	} else {
		err = v.checkEverything()
	}

	if err != nil {
		return nil, l.queryError("verify ledger", err)
	}

	return v.report, nil
}

// snapshotSettings remove the time limits of a connection and allow plans that read whole tables.
var snapshotSettings = []string{
	"statement_timeout = 0",
	"idle_in_transaction_session_timeout = 0",
	"enable_seqscan = on",
	"enable_hashjoin = on",
	"max_parallel_workers_per_gather = 2",
}

// openSnapshot begins a read-only transaction that reads one consistent snapshot.
func (s *sqlStore) openSnapshot(ctx context.Context) (*sqlx.Tx, error) {
	if s.isSQLite() {
		return s.db.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
	}

	options := &sql.TxOptions{
		Isolation: sql.LevelRepeatableRead,
		ReadOnly:  true,
	}
	tx, err := s.db.BeginTxx(pgconn.WithoutLimit(ctx), options)
	if err != nil {
		return nil, err
	}

	for _, setting := range snapshotSettings {
		_, err := tx.ExecContext(ctx, "SET LOCAL "+setting)
		if err != nil {
			_ = tx.Rollback()
			return nil, err
		}
	}

	return tx, nil
}

// verifier is the state of one Verify call. It counts rows while it reads the accounts and the
// transactions. At the end it compares the counts with the number of stored rows.
type verifier struct {
	ctx      context.Context
	tx       *sqlx.Tx
	isSQLite bool
	opts     VerifyOptions
	report   *Report

	expectedEntries int64 // an estimate
	storedEntries   int64
	accountEntries  int64 // entries of accounts with a wallet
	derivedLegs     int64 // party entries, derived from the transactions
	derivedSystem   int64 // system entries, derived from the transactions

	escrowsSeen   int64 // escrows of accounts with a wallet
	escrowsClosed int64 // closed escrows of these accounts
	expiriesSeen  int64 // held escrows of these accounts that expire
	holds         int64 // transactions that opened an escrow
	closes        int64 // transactions that closed an escrow
}

// addFinding counts a finding and adds it to the report if there is room.
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

// verifyPageSize is the number of rows that a query of Verify reads at once.
const verifyPageSize = 1000

// sumColumns are two SQL expressions that sum the high and the low part of amounts. They work on
// both databases. Neither sum overflows 64 bits with fewer than 2^36 rows.
const sumColumns = `CAST(coalesce(sum(amount / 67108864), 0) AS bigint) AS high, CAST(coalesce(sum(amount % 67108864), 0) AS bigint) AS low`

// splitSum is a sum in two parts. Its value is High*2^26 + Low.
type splitSum struct {
	High int64 `db:"high"`
	Low  int64 `db:"low"`
}

func (s splitSum) toBig() *big.Int {
	n := big.NewInt(s.High)
	n.Lsh(n, 26)
	return addTo(n, s.Low)
}

func addTo(total *big.Int, n int64) *big.Int { return total.Add(total, big.NewInt(n)) }

// checkOneAccount checks the account of the options.
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

// checkEverything checks the whole ledger.
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
			Detail: fmt.Sprintf("%d entries are stored; the transactions have %d", v.storedEntries, derived),
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

	err = v.checkJournal()
	if err != nil {
		return err
	}

	return v.checkTotals(totals)
}

const walletsPageSQL = `SELECT ` + walletColumns + ` FROM wallets WHERE account > $1 ORDER BY account LIMIT $2`

// checkAccounts checks all accounts and adds their balances to the totals.
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
