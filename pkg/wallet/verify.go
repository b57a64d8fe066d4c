package wallet

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
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
	CheckEscrow  Check = "escrow"          // the escrow balance equals the held escrows
	CheckTotal   Check = "total"           // issued = available + escrow + earned + paid out
	CheckStray   Check = "stray_entry"     // an entry belongs to a transaction
)

// A Finding is one row, or sum, that is not as it must be.
type Finding struct {
	Check         Check   `json:"check"`
	Account       Account `json:"account,omitempty"`
	TransactionID string  `json:"transactionId,omitempty"`
	Seq           int64   `json:"seq,omitempty"`
	Detail        string  `json:"detail"`
}

// Totals is where all points are.
type Totals struct {
	Issued    int64 `json:"issued"`
	PaidOut   int64 `json:"paidOut"`
	Available int64 `json:"available"`
	Escrow    int64 `json:"escrow"`
	Earned    int64 `json:"earned"`
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
	s := l.store.queries()
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
	for _, set := range []string{"statement_timeout = 0", "idle_in_transaction_session_timeout = 0", "enable_seqscan = on", "enable_hashjoin = on"} {
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
	legs     int64 // party entries that follow from the transactions
	systems  int64 // system entries that follow from them
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

func (v *verifier) oneAccount() error {
	var r walletRow
	err := v.tx.GetContext(v.ctx, &r, `SELECT `+walletColumns+` FROM wallets WHERE account = $1`, string(v.opts.Account))
	if errors.Is(err, sql.ErrNoRows) {
		return ErrAccountNotFound
	}
	if err != nil {
		return err
	}
	w := r.wallet()
	v.expected = w.Seq
	return v.account(&w)
}

func (v *verifier) everything() error {
	if err := v.tx.GetContext(v.ctx, &v.expected, `SELECT count(*) FROM entries`); err != nil {
		return err
	}
	stored := v.expected
	totals := &Totals{}
	above := ""
	for {
		var rows []walletRow
		err := v.tx.SelectContext(v.ctx, &rows, `SELECT `+walletColumns+` FROM wallets WHERE account > $1 ORDER BY account LIMIT $2`, above, verifyPage)
		if err != nil {
			return err
		}
		for i := range rows {
			w := rows[i].wallet()
			totals.Available += w.Available
			totals.Escrow += w.Escrow
			totals.Earned += w.Earned
			if err := v.account(&w); err != nil {
				return err
			}
		}
		if len(rows) < verifyPage {
			break
		}
		above = rows[len(rows)-1].Account
	}
	if err := v.transactions(); err != nil {
		return err
	}
	if extra := stored - v.legs - v.systems; extra != 0 {
		v.find(Finding{Check: CheckStray, Detail: fmt.Sprintf("%d entries are stored, %d follow from the transactions", stored, v.legs+v.systems)})
	}
	return v.totals(totals)
}

// account follows one account's entries from its first to its wallet.
func (v *verifier) account(w *wallet) error {
	v.report.Accounts++
	have := wallet{Account: w.Account}
	for after := int64(0); ; {
		var rows []auditRow
		err := v.tx.SelectContext(v.ctx, &rows, auditSQL, string(w.Account), after, verifyPage)
		if err != nil {
			return err
		}
		for i := range rows {
			v.entry(&have, &rows[i])
			after = int64(rows[i].Seq)
		}
		v.report.Entries += int64(len(rows))
		v.progress()
		if len(rows) < verifyPage {
			break
		}
	}
	if have.Available != w.Available || have.Escrow != w.Escrow || have.Earned != w.Earned {
		v.find(Finding{Check: CheckBalance, Account: w.Account, Detail: fmt.Sprintf("entries sum to %d available, %d in escrow, %d earned; the balances are %d, %d, %d",
			have.Available, have.Escrow, have.Earned, w.Available, w.Escrow, w.Earned)})
	}
	if have.Seq != w.Seq {
		v.find(Finding{Check: CheckSeq, Account: w.Account, Seq: w.Seq, Detail: fmt.Sprintf("the last entry's seq is %d, the account's %d", have.Seq, w.Seq)})
	}
	if !bytes.Equal(have.Hash, w.Hash) {
		v.find(Finding{Check: CheckHash, Account: w.Account, Seq: w.Seq, Detail: "the account's hash is not its last entry's"})
	}
	return v.escrow(w)
}

func (v *verifier) escrow(w *wallet) error {
	if !w.Account.IsUser() {
		return nil
	}
	var held int64
	err := v.tx.GetContext(v.ctx, &held, `SELECT CAST(coalesce(sum(amount), 0) AS bigint) FROM escrows WHERE user_account = $1 AND status = 'held'`, string(w.Account))
	if err != nil {
		return err
	}
	if held != w.Escrow {
		v.find(Finding{Check: CheckEscrow, Account: w.Account, Detail: fmt.Sprintf("held escrows sum to %d, the escrow balance is %d", held, w.Escrow)})
	}
	return nil
}

// auditRow is an entry with its whole transaction.
type auditRow struct {
	Seq           number    `db:"seq"`
	Place         int       `db:"place"`
	State         string    `db:"state"`
	EntryAmount   int64     `db:"entry_amount"`
	BalanceBefore int64     `db:"balance_before"`
	BalanceAfter  int64     `db:"balance_after"`
	Hash          []byte    `db:"hash"`
	EntryAt       dbTime    `db:"entry_at"`
	EntryOf       uuid.UUID `db:"transaction_id"`
	Found         bool      `db:"found"`
	transactionRow
}

const auditSQL = `SELECT e.seq, e.place, e.state, e.amount AS entry_amount, e.balance_before, e.balance_after, e.hash, e.created_at AS entry_at,
		e.transaction_id, t.id IS NOT NULL AS found, coalesce(t.id, e.transaction_id) AS id, coalesce(t.operation, '') AS operation,
		coalesce(t.amount, 0) AS amount, coalesce(t.refund_amount, 0) AS refund_amount, coalesce(t.settle_amount, 0) AS settle_amount,
		coalesce(t.reason, '') AS reason, t.escrow_id, t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata,
		t.user_account, t.user_seq, t.user_available, t.user_escrow, t.model_account, t.model_seq, t.model_earned, t.created_at
	FROM (SELECT account, seq, transaction_id, place, state, amount, balance_before, balance_after, hash, created_at
		FROM entries WHERE account = $1 AND seq > $2 ORDER BY seq LIMIT $3) e
	LEFT JOIN transactions t ON t.id = e.transaction_id ORDER BY e.seq`

// entry checks one entry against what came before it (have) and its transaction.
func (v *verifier) entry(have *wallet, r *auditRow) {
	f := Finding{Account: have.Account, TransactionID: r.EntryOf.String(), Seq: int64(r.Seq)}
	report := func(c Check, format string, args ...any) {
		f.Check, f.Detail = c, fmt.Sprintf(format, args...)
		v.find(f)
	}
	balance := have.field(BalanceState(r.State))
	if r.BalanceBefore != *balance {
		report(CheckBefore, "the balance before is %d, the previous one after is %d", r.BalanceBefore, *balance)
	}
	*balance += r.EntryAmount
	e := Entry{
		TransactionID: r.EntryOf, Place: r.Place, Account: have.Account, State: BalanceState(r.State), Amount: r.EntryAmount,
		BalanceBefore: r.BalanceBefore, BalanceAfter: r.BalanceAfter, Seq: int64(r.Seq),
	}
	tx := r.transaction()
	switch {
	case !r.Found:
		report(CheckStray, "its transaction is missing")
	default:
		if want := entryHash(have.Hash, summarize(&tx), &e); !bytes.Equal(want, r.Hash) {
			report(CheckHash, "the entry, its transaction or the one before was changed")
		}
		expected, own := expectedEntries(&tx)
		i := slices.IndexFunc(expected, func(x Entry) bool { return x.Account == e.Account && x.Seq == e.Seq })
		switch {
		case i < 0:
			report(CheckEntries, "does not follow from its transaction")
		case expected[i].State != e.State || expected[i].Amount != e.Amount || expected[i].BalanceAfter != e.BalanceAfter || expected[i].Place != e.Place:
			report(CheckEntries, "the transaction asks for %s %+d to %d", expected[i].State, expected[i].Amount, expected[i].BalanceAfter)
		}
		if !r.EntryAt.Equal(tx.CreatedAt) || !tx.CreatedAt.Equal(idTime(tx.ID)) {
			report(CheckEntries, "its time is not its transaction's")
		}
		next := have.Seq + 1
		if own && (i <= 0 || expected[i-1].Account != e.Account) {
			next++ // the escrow operation's own event stands before the party's first entry
		}
		if e.Seq != next {
			report(CheckSeq, "seq %d is missing", next)
		}
	}
	have.Seq, have.Hash = e.Seq, r.Hash
}

// expectedEntries derives a transaction's entries from its row, and tells
// whether the operation has an event of its own. Hashes are left out.
func expectedEntries(tx *Transaction) ([]Entry, bool) {
	own := tx.Operation != OpCredit && tx.Operation != OpDebit
	var out []Entry
	for i := range tx.Parties {
		p := &tx.Parties[i]
		legs := legs(tx, p)
		balances := wallet{Available: p.Available, Escrow: p.Escrow, Earned: p.Earned}
		for j, l := range legs {
			out = append(out, Entry{
				TransactionID: tx.ID, Place: len(out), Account: p.Account, State: l.state, Amount: l.amount,
				BalanceAfter: *balances.field(l.state), Seq: p.Seq - int64(len(legs)-1-j), CreatedAt: tx.CreatedAt,
			})
		}
	}
	switch tx.Operation {
	case OpCredit:
		out = append(out, Entry{TransactionID: tx.ID, Place: len(out), Account: SystemIssuance, State: StateSystem, Amount: -tx.Amount})
	case OpDebit:
		out = append(out, Entry{TransactionID: tx.ID, Place: len(out), Account: SystemPayout, State: StateSystem, Amount: tx.Amount})
	}
	return out, own
}

// transactions checks each transaction's entries as they are stored.
func (v *verifier) transactions() error {
	for above := uuid.Nil; ; {
		var rows []transactionRow
		err := v.tx.SelectContext(v.ctx, &rows, `SELECT `+transactionColumns+` FROM transactions t WHERE t.id > $1 ORDER BY t.id LIMIT $2`, above, verifyPage)
		if err != nil {
			return err
		}
		sums, err := v.storedSums(above, rows)
		if err != nil {
			return err
		}
		for i := range rows {
			tx := rows[i].transaction()
			expected, _ := expectedEntries(&tx)
			got := sums[tx.ID]
			for _, e := range expected {
				if e.State == StateSystem {
					v.systems++
					v.report.Entries++
				} else {
					v.legs++
				}
			}
			if got.Sum != 0 {
				v.find(Finding{Check: CheckSum, TransactionID: tx.ID.String(), Detail: fmt.Sprintf("its entries sum to %d", got.Sum)})
			}
			if got.Count != int64(len(expected)) {
				v.find(Finding{Check: CheckEntries, TransactionID: tx.ID.String(), Detail: fmt.Sprintf("%d entries are stored, %d follow from it", got.Count, len(expected))})
			}
		}
		v.report.Transactions += int64(len(rows))
		v.progress()
		if len(rows) < verifyPage {
			return nil
		}
		above = rows[len(rows)-1].ID
	}
}

type storedSum struct {
	ID    uuid.UUID `db:"id"`
	Sum   int64     `db:"total"`
	Count int64     `db:"n"`
}

// storedSums adds up the entries of a page of transactions. Parties' entries are
// found by (account, seq), system accounts' by transaction.
func (v *verifier) storedSums(above uuid.UUID, rows []transactionRow) (map[uuid.UUID]storedSum, error) {
	out := make(map[uuid.UUID]storedSum, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	var sums []storedSum
	err := v.tx.SelectContext(v.ctx, &sums, `SELECT t.id, CAST(coalesce(sum(e.amount), 0) AS bigint) AS total, count(e.amount) AS n FROM (
			SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.user_account AND e.seq > t.user_seq - 2 AND e.seq <= t.user_seq AND e.transaction_id = t.id
				WHERE t.id > $1 AND t.id <= $2
			UNION ALL SELECT t.id, e.amount FROM transactions t JOIN entries e ON e.account = t.model_account AND e.seq = t.model_seq AND e.transaction_id = t.id
				WHERE t.id > $1 AND t.id <= $2
			UNION ALL SELECT e.transaction_id, e.amount FROM entries e WHERE e.transaction_id > $1 AND e.transaction_id <= $2 AND e.seq IS NULL
		) e JOIN transactions t ON t.id = e.id GROUP BY t.id`, above, rows[len(rows)-1].ID)
	for _, s := range sums {
		out[s.ID] = s
	}
	return out, err
}

// totals closes the books.
func (v *verifier) totals(t *Totals) error {
	var rows []struct {
		Account string `db:"account"`
		Sum     int64  `db:"total"`
	}
	err := v.tx.SelectContext(v.ctx, &rows, `SELECT account, CAST(sum(amount) AS bigint) AS total FROM entries WHERE seq IS NULL GROUP BY account`)
	if err != nil {
		return err
	}
	for _, r := range rows {
		switch Account(r.Account) {
		case SystemIssuance:
			t.Issued = -r.Sum
		case SystemPayout:
			t.PaidOut = r.Sum
		default:
			v.find(Finding{Check: CheckStray, Account: Account(r.Account), Detail: "entries without a seq on an account that is not the system's"})
		}
	}
	v.report.Totals = t
	if t.Issued != t.PaidOut+t.Available+t.Escrow+t.Earned {
		v.find(Finding{Check: CheckTotal, Detail: fmt.Sprintf("issued %d is not %d paid out + %d available + %d in escrow + %d earned",
			t.Issued, t.PaidOut, t.Available, t.Escrow, t.Earned)})
	}
	return nil
}
