package wallet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"

	"github.com/jmoiron/sqlx"
)

// Check names what Verify checks.
type Check string

// The checks.
const (
	CheckSum     Check = "transaction_sum" // a transaction's entries sum to zero
	CheckEntries Check = "entries"         // a transaction's entries are those that follow from it
	CheckBalance Check = "balance"         // a balance equals the sum of its entries
	CheckBefore  Check = "balance_before"  // balance before equals the previous balance after
	CheckSeq     Check = "seq"             // seq has no hole and fits the events
	CheckHash    Check = "hash"            // the hash chain holds
	CheckEscrow  Check = "escrow"          // the escrow balance equals the held escrows, and escrows are what their transactions made them
	CheckTotal   Check = "total"           // issued = available + escrow + earned + paid out
	CheckStray   Check = "stray_entry"     // an entry belongs to a transaction
	CheckKey     Check = "idempotency_key" // a key stands for a transaction of its operation, and no other key does
)

// A Finding is one row, or sum, that is not as it must be.
type Finding struct {
	Check         Check   `json:"check"`
	Account       Account `json:"account,omitempty"`
	TransactionID string  `json:"transactionId,omitempty"`
	Seq           int64   `json:"seq,omitempty"`
	Detail        string  `json:"detail"`
}

// Totals is where all points are. A balance fits 53 bits; the sum of all
// balances need not fit 64.
type Totals struct {
	Issued    *big.Int `json:"issued"`
	PaidOut   *big.Int `json:"paidOut"`
	Available *big.Int `json:"available"`
	Escrow    *big.Int `json:"escrow"`
	Earned    *big.Int `json:"earned"`
}

// Balanced tells whether issued = available + escrow + earned + paid out.
func (t *Totals) Balanced() bool {
	sum := new(big.Int)
	for _, n := range []*big.Int{t.Available, t.Escrow, t.Earned, t.PaidOut} {
		sum.Add(sum, n)
	}
	return t.Issued.Cmp(sum) == 0
}

// Report is the outcome of Verify. It lists at most MaxFindings findings and
// counts them all.
type Report struct {
	Accounts     int64     `json:"accounts"`
	Transactions int64     `json:"transactions"` // 0 when one account was verified
	Entries      int64     `json:"entries"`
	Totals       *Totals   `json:"totals,omitempty"` // nil when one account was verified
	Findings     []Finding `json:"findings"`
	FindingCount int64     `json:"findingCount"`
}

// OK tells whether nothing was found.
func (r *Report) OK() bool { return r.FindingCount == 0 }

// MaxFindings is how many findings a report lists.
const MaxFindings = 1000

// VerifyOptions narrows Verify.
type VerifyOptions struct {
	Account  Account                    // only this account. Defaults to all, and all transactions.
	Progress func(done, expected int64) // entries seen and about how many there are; called now and then
}

// Verify checks the whole ledger, or one account, in bounded memory and on one
// consistent snapshot, while operations go on. An error means that it could not
// be checked, not that something is wrong: that is in the report. An unknown
// account is ErrAccountNotFound.
func (l *Ledger) Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	s := l.store.sharedQueries()
	tx, err := s.snapshot(ctx)
	if err != nil {
		return nil, l.queryError("verify", err)
	}
	defer func() { _ = tx.Rollback() }()
	v := &verifier{ctx: ctx, tx: tx, opts: o, report: &Report{Findings: []Finding{}}}
	if o.Account != "" {
		err = v.oneAccount()
	} else {
		err = v.everything()
	}
	if err != nil {
		return nil, l.queryError("verify", err)
	}
	return v.report, nil
}

// snapshot opens a read-only transaction that sees one moment and may take its
// time; its plans may read whole tables.
func (s *sqlStore) snapshot(ctx context.Context) (*sqlx.Tx, error) {
	if s.db.DriverName() == driverSQLite {
		return s.db.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true})
	}
	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	for _, set := range []string{"statement_timeout = 0", "idle_in_transaction_session_timeout = 0", "enable_seqscan = on", "enable_hashjoin = on", "max_parallel_workers_per_gather = 2"} {
		if _, err := tx.ExecContext(ctx, "SET LOCAL "+set); err != nil {
			_ = tx.Rollback()
			return nil, err
		}
	}
	return tx, nil
}

type verifier struct {
	ctx      context.Context // of one Verify
	tx       *sqlx.Tx
	opts     VerifyOptions
	report   *Report
	expected int64 // entries, about
	stored   int64 // entries
	walked   int64 // entries of accounts that have a wallet
	legs     int64 // party entries that follow from the transactions
	systems  int64 // system entries that follow from them

	escrowsSeen, escrowsEnded int64 // escrows of accounts that have a wallet: all, and those that have ended
	expiries                  int64 // of them, those that are to expire
	holds, ends               int64 // transactions that held and ended escrows
}

func (v *verifier) find(f Finding) {
	v.report.FindingCount++
	if len(v.report.Findings) < MaxFindings {
		v.report.Findings = append(v.report.Findings, f)
	}
}

func (v *verifier) progress() {
	if v.opts.Progress != nil {
		v.opts.Progress(v.report.Entries, v.expected)
	}
}

const verifyPage = 1000

// sumColumns add up amounts in two halves: neither overflows 64 bits before 2^36
// rows, whatever they hold, and both databases can do it.
const sumColumns = `CAST(coalesce(sum(amount / 67108864), 0) AS bigint) AS high, CAST(coalesce(sum(amount % 67108864), 0) AS bigint) AS low`

type sum struct {
	High int64 `db:"high"` // times 2^26
	Low  int64 `db:"low"`
}

func (s sum) big() *big.Int {
	n := big.NewInt(s.High)
	return add(n.Lsh(n, 26), s.Low)
}

// add adds n to the total.
func add(total *big.Int, n int64) *big.Int { return total.Add(total, big.NewInt(n)) }

func (v *verifier) oneAccount() error {
	var r walletRow
	err := v.tx.GetContext(v.ctx, &r, `SELECT `+walletColumns+` FROM wallets WHERE account = $1`, string(v.opts.Account))
	if errors.Is(err, sql.ErrNoRows) {
		return ErrAccountNotFound
	}
	if err != nil {
		return err
	}
	w := r.toWallet()
	v.expected = w.Seq
	return v.account(&w)
}

func (v *verifier) everything() error {
	if err := v.tx.GetContext(v.ctx, &v.expected, `SELECT count(*) FROM entries`); err != nil {
		return err
	}
	v.stored = v.expected
	totals := &Totals{Issued: new(big.Int), PaidOut: new(big.Int), Available: new(big.Int), Escrow: new(big.Int), Earned: new(big.Int)}
	above := ""
	for {
		var rows []walletRow
		err := v.tx.SelectContext(v.ctx, &rows, `SELECT `+walletColumns+` FROM wallets WHERE account > $1 ORDER BY account LIMIT $2`, above, verifyPage)
		if err != nil {
			return err
		}
		for i := range rows {
			w := rows[i].toWallet()
			add(totals.Available, w.Available)
			add(totals.Escrow, w.Escrow)
			add(totals.Earned, w.Earned)
			if err := v.account(&w); err != nil {
				return err
			}
		}
		if len(rows) < verifyPage {
			break
		}
		above = rows[len(rows)-1].Account
	}
	v.walked = v.report.Entries
	if err := v.transactions(); err != nil {
		return err
	}
	if v.stored != v.legs+v.systems {
		v.find(Finding{Check: CheckStray, Detail: fmt.Sprintf("%d entries are stored, %d follow from the transactions", v.stored, v.legs+v.systems)})
	}
	if err := v.escrowCounts(); err != nil {
		return err
	}
	if err := v.keys(); err != nil {
		return err
	}
	return v.totals(totals)
}
