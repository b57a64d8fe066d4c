package wallet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// checkAccount follows one account's entries from its first to its wallet.
func (v *verifier) checkAccount(w *wallet) error {
	v.report.Accounts++
	walk := accountWalk{sums: wallet{Account: w.Account}, after: wallet{Account: w.Account}}
	position := int64(0)
	for {
		var rows []auditRow
		err := v.tx.SelectContext(v.ctx, &rows, auditSQL, string(w.Account), position, verifyPageSize)
		if err != nil {
			return err
		}

		for i := range rows {
			v.checkEntry(&walk, &rows[i])
			position = int64(rows[i].Seq)
		}

		v.report.Entries += int64(len(rows))
		v.reportProgress()
		if len(rows) < verifyPageSize {
			break
		}
	}

	v.checkWallet(&walk, w)
	return v.checkEscrows(w)
}

// checkWallet compares a wallet with all of its entries.
func (v *verifier) checkWallet(walk *accountWalk, w *wallet) {
	report := func(c Check, seq int64, detail string) {
		v.addFinding(Finding{
			Check:   c,
			Account: w.Account,
			Seq:     seq,
			Detail:  detail,
		})
	}

	sums := &walk.sums
	if !hasSameBalances(sums, w) {
		report(CheckBalance, 0, fmt.Sprintf("entries sum to %d available, %d in escrow, %d earned; the balances are %d, %d, %d",
			sums.Available, sums.Escrow, sums.Earned, w.Available, w.Escrow, w.Earned))
	}

	if sums.Seq != w.Seq {
		report(CheckSeq, w.Seq, fmt.Sprintf("the last entry's seq is %d, the account's %d", sums.Seq, w.Seq))
	}

	if !bytes.Equal(sums.Hash, w.Hash) {
		report(CheckHash, w.Seq, "the account's hash is not its last entry's")
	}

	lastEntryAt := walk.after.UpdatedAt
	if sums.Seq > 0 && !lastEntryAt.Equal(w.UpdatedAt) {
		report(CheckBalance, w.Seq, fmt.Sprintf("the last entry is of %s, the balances of %s",
			lastEntryAt.Format(bus.TimeFormat), w.UpdatedAt.Format(bus.TimeFormat)))
	}
}

func hasSameBalances(a, b *wallet) bool {
	return a.Available == b.Available && a.Escrow == b.Escrow && a.Earned == b.Earned
}

// accountWalk is what an account's entries up to one of them say.
type accountWalk struct {
	sums  wallet // the sums of amounts, and the newest seq and hash
	after wallet // the newest balances after
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
	Found         bool      `db:"found"` // the transaction exists
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

func (r *auditRow) toEntry(a Account) Entry {
	return Entry{
		TransactionID: r.EntryOf,
		Place:         r.Place,
		Account:       a,
		State:         BalanceState(r.State),
		Amount:        r.EntryAmount,
		BalanceBefore: r.BalanceBefore,
		BalanceAfter:  r.BalanceAfter,
		Seq:           int64(r.Seq),
		Hash:          r.Hash,
		CreatedAt:     r.EntryAt.Time,
	}
}

// entryCheck checks one entry against those before it and against its transaction.
type entryCheck struct {
	v    *verifier
	walk *accountWalk
	e    *Entry
	tx   *Transaction
}

func (c *entryCheck) addEntryFinding(check Check, format string, args ...any) {
	c.v.addFinding(Finding{
		Check:         check,
		Account:       c.e.Account,
		TransactionID: c.e.TransactionID.String(),
		Seq:           c.e.Seq,
		Detail:        fmt.Sprintf(format, args...),
	})
}

// checkEntry adds the entry to the walk.
func (v *verifier) checkEntry(walk *accountWalk, r *auditRow) {
	e := r.toEntry(walk.sums.Account)
	tx := r.toTransaction()
	c := entryCheck{v: v, walk: walk, e: &e, tx: &tx}
	after := walk.after.balanceOf(e.State)
	if e.BalanceBefore != *after {
		c.addEntryFinding(CheckBefore, "the balance before is %d, the previous one after is %d", e.BalanceBefore, *after)
	}

	*after = e.BalanceAfter
	*walk.sums.balanceOf(e.State) += e.Amount
	if r.Found {
		c.checkAgainstTransaction()
	} else {
		c.addEntryFinding(CheckStray, "its transaction is missing")
	}

	walk.sums.Seq = e.Seq
	walk.sums.Hash = e.Hash
	walk.after.UpdatedAt = e.CreatedAt
}

func (c *entryCheck) checkAgainstTransaction() {
	if !bytes.Equal(hashEntry(c.walk.sums.Hash, encodeSummary(c.tx), c.e), c.e.Hash) {
		c.addEntryFinding(CheckHash, "the entry, its transaction or the one before was changed")
	}

	derived := deriveEntries(c.tx)
	place := slices.IndexFunc(derived, func(d Entry) bool { return d.Account == c.e.Account && d.Seq == c.e.Seq })
	if place < 0 {
		c.addEntryFinding(CheckEntries, "does not follow from its transaction")
	} else {
		c.checkAgainstDerived(&derived[place])
	}

	c.checkParty()
	hasTransactionsTime := c.e.CreatedAt.Equal(c.tx.CreatedAt) && c.tx.CreatedAt.Equal(idTime(c.tx.ID))
	if !hasTransactionsTime {
		c.addEntryFinding(CheckEntries, "its time is not its transaction's")
	}

	next := c.walk.sums.Seq + 1
	isPartysFirst := place <= 0 || derived[place-1].Account != c.e.Account
	if c.tx.isEscrowOperation() && isPartysFirst {
		next++ // the escrow operation's event takes the seq before the party's first entry
	}

	if c.e.Seq != next {
		c.addEntryFinding(CheckSeq, "seq %d is missing", next)
	}
}

func (c *entryCheck) checkAgainstDerived(d *Entry) {
	e := c.e
	same := d.State == e.State && d.Amount == e.Amount && d.BalanceAfter == e.BalanceAfter && d.Place == e.Place
	if !same {
		c.addEntryFinding(CheckEntries, "the transaction asks for %s %+d to %d", d.State, d.Amount, d.BalanceAfter)
	}
}

// checkParty compares the balances after a party's last entry with those in the transaction.
func (c *entryCheck) checkParty() {
	after := &c.walk.after
	for _, p := range c.tx.Parties {
		if p.Account != after.Account || p.Seq != c.e.Seq {
			continue
		}

		if c.v.opts.Account != "" { // otherwise checkTransactions checks all transactions
			c.v.checkTransaction(c.tx)
		}

		same := p.Available == after.Available && p.Escrow == after.Escrow && p.Earned == after.Earned
		if !same {
			c.addEntryFinding(CheckEntries, "the transaction left %d available, %d in escrow, %d earned, its entries %d, %d, %d",
				p.Available, p.Escrow, p.Earned, after.Available, after.Escrow, after.Earned)
		}
	}
}
