package wallet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// account follows one account's entries from its first to its wallet.
func (v *verifier) account(w *wallet) error {
	v.report.Accounts++
	have := walked{wallet: wallet{Account: w.Account}, after: wallet{Account: w.Account}}
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
	if at := have.after.UpdatedAt; have.Seq > 0 && !at.Equal(w.UpdatedAt) {
		v.find(Finding{Check: CheckBalance, Account: w.Account, Seq: w.Seq, Detail: fmt.Sprintf("the last entry is of %s, the balances of %s",
			at.Format(bus.TimeFormat), w.UpdatedAt.Format(bus.TimeFormat))})
	}
	return v.escrows(w)
}

// walked is what an account's entries up to one of them say.
type walked struct {
	wallet        // sums of amounts, and the newest seq and hash
	after  wallet // the newest balances after
}

// auditRow is an entry with its whole transaction.
type auditRow struct {
	Seq           dbNumber  `db:"seq"`
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
func (v *verifier) entry(have *walked, r *auditRow) {
	f := Finding{Account: have.Account, TransactionID: r.EntryOf.String(), Seq: int64(r.Seq)}
	report := func(c Check, format string, args ...any) {
		f.Check, f.Detail = c, fmt.Sprintf(format, args...)
		v.find(f)
	}
	after := have.after.balanceOf(BalanceState(r.State))
	if r.BalanceBefore != *after {
		report(CheckBefore, "the balance before is %d, the previous one after is %d", r.BalanceBefore, *after)
	}
	*after = r.BalanceAfter
	*have.balanceOf(BalanceState(r.State)) += r.EntryAmount
	e := Entry{
		TransactionID: r.EntryOf, Place: r.Place, Account: have.Account, State: BalanceState(r.State), Amount: r.EntryAmount,
		BalanceBefore: r.BalanceBefore, BalanceAfter: r.BalanceAfter, Seq: int64(r.Seq),
	}
	tx := r.toTransaction()
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
		for _, p := range tx.Parties {
			a := &have.after
			if p.Account != a.Account || p.Seq != e.Seq {
				continue
			}
			if v.opts.Account != "" { // or all transactions come by
				v.transaction(&tx)
			}
			if p.Available != a.Available || p.Escrow != a.Escrow || p.Earned != a.Earned {
				report(CheckEntries, "the transaction left %d available, %d in escrow, %d earned, its entries %d, %d, %d",
					p.Available, p.Escrow, p.Earned, a.Available, a.Escrow, a.Earned)
			}
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
	have.Seq, have.Hash, have.after.UpdatedAt = e.Seq, r.Hash, r.EntryAt.Time
}
