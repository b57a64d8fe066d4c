package wallet

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// checkAccount checks all entries of an account, oldest first, and compares them with its wallet.
func (v *verifier) checkAccount(w *wallet) error {
	v.report.Accounts++
	walk := accountWalk{
		sums:  wallet{Account: w.Account},
		after: wallet{Account: w.Account},
	}

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

// checkWallet compares a wallet with its entries.
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
		detail := fmt.Sprintf("entries sum to %d available, %d in escrow, %d earned; the balances are %d, %d, %d",
			sums.Available, sums.Escrow, sums.Earned, w.Available, w.Escrow, w.Earned)
		report(CheckBalance, 0, detail)
	}

	if sums.Seq != w.Seq {
		detail := fmt.Sprintf("the seq of the account is %d; the seq of the last entry is %d", w.Seq, sums.Seq)
		report(CheckSeq, w.Seq, detail)
	}

	if !bytes.Equal(sums.Hash, w.Hash) {
		report(CheckHash, w.Seq, "the hash of the account is not the hash of its last entry")
	}

	lastEntryAt := walk.after.UpdatedAt
	if sums.Seq > 0 && !lastEntryAt.Equal(w.UpdatedAt) {
		detail := fmt.Sprintf("the account was updated at %s; the time of the last entry is %s",
			w.UpdatedAt.Format(bus.TimeFormat), lastEntryAt.Format(bus.TimeFormat))
		report(CheckBalance, w.Seq, detail)
	}
}

func hasSameBalances(a, b *wallet) bool {
	return a.Available == b.Available && a.Escrow == b.Escrow && a.Earned == b.Earned
}

// accountWalk is the state of an account, computed from its first entries.
type accountWalk struct {
	sums  wallet // the sums of the amounts, and the seq and hash of the newest entry
	after wallet // the balances after the newest entries

	// chains holds the chains that the transaction of the newest entry must have, up to this entry.
	chains eventChains
}

// auditRow is an entry with its transaction.
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
	Found         bool      `db:"found"` // whether the transaction exists
	transactionRow
}

const auditSQL = `SELECT e.seq, e.place, e.state, e.amount AS entry_amount, e.balance_before, e.balance_after, e.hash, e.created_at AS entry_at,
		e.transaction_id, t.id IS NOT NULL AS found, coalesce(t.id, e.transaction_id) AS id, coalesce(t.operation, '') AS operation,
		coalesce(t.amount, 0) AS amount, coalesce(t.refund_amount, 0) AS refund_amount, coalesce(t.settle_amount, 0) AS settle_amount,
		coalesce(t.reason, '') AS reason, t.escrow_id, t.queue_item_id, t.feature_type, t.correlation_id, t.request_id, t.metadata,
		t.user_account, t.user_seq, t.user_available, t.user_escrow, t.model_account, t.model_seq, t.model_earned, t.created_at, t.chains
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

// entryCheck compares one entry with the entries before it and with its transaction.
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

// checkEntry checks an entry and adds it to the walk.
func (v *verifier) checkEntry(walk *accountWalk, r *auditRow) {
	e := r.toEntry(walk.sums.Account)
	tx := r.toTransaction()
	c := entryCheck{
		v:    v,
		walk: walk,
		e:    &e,
		tx:   &tx,
	}

	after := walk.after.balanceOf(e.State)
	if e.BalanceBefore != *after {
		c.addEntryFinding(CheckBefore, "the balance before is %d; the previous balance after is %d", e.BalanceBefore, *after)
	}

	*after = e.BalanceAfter
	*walk.sums.balanceOf(e.State) += e.Amount
	if r.Found {
		c.checkAgainstTransaction()
	} else {
		c.addEntryFinding(CheckStray, "the transaction of the entry is missing")
	}

	walk.sums.Seq = e.Seq
	walk.sums.Hash = e.Hash
	walk.after.UpdatedAt = e.CreatedAt
}

// checkAgainstTransaction compares the entry with its transaction and with the entry before it.
func (c *entryCheck) checkAgainstTransaction() {
	hash := hashEntry(c.walk.sums.Hash, encodeSummary(c.tx), c.e)
	if !bytes.Equal(hash, c.e.Hash) {
		c.addEntryFinding(CheckHash, "the entry, its transaction or the previous entry was changed")
	}

	derived := deriveEntries(c.tx)
	place := slices.IndexFunc(derived, func(d Entry) bool {
		return d.Account == c.e.Account && d.Seq == c.e.Seq
	})

	if place < 0 {
		c.addEntryFinding(CheckEntries, "the transaction has no entry with this account and seq")
	} else {
		c.checkAgainstDerived(&derived[place])
	}

	isFirstOfParty := place <= 0 || derived[place-1].Account != c.e.Account
	if isFirstOfParty {
		c.startChains()
	}

	c.walk.chains.appendChain(hashChain(c.e.Hash))
	c.checkParty()
	hasSameTime := c.e.CreatedAt.Equal(c.tx.CreatedAt) && c.tx.CreatedAt.Equal(idTime(c.tx.ID))
	if !hasSameTime {
		c.addEntryFinding(CheckEntries, "the time of the entry is not the time of its transaction")
	}

	next := c.walk.sums.Seq + 1
	if c.tx.isEscrowOperation() && isFirstOfParty {
		next++ // the operation's own event has the seq before the party's first entry
	}

	if c.e.Seq != next {
		c.addEntryFinding(CheckSeq, "the seq must be %d", next)
	}
}

// checkAgainstDerived compares the entry with the entry that was derived from its transaction.
func (c *entryCheck) checkAgainstDerived(d *Entry) {
	e := c.e
	isEqual := d.State == e.State && d.Amount == e.Amount && d.BalanceAfter == e.BalanceAfter && d.Place == e.Place
	if !isEqual {
		c.addEntryFinding(CheckEntries, "the transaction has %s %+d with a balance of %d after it", d.State, d.Amount, d.BalanceAfter)
	}
}

// startChains starts the chains that the transaction must have for the entry's account.
func (c *entryCheck) startChains() {
	before := c.walk.sums.Hash
	c.walk.chains = c.walk.chains[:0]
	c.walk.chains.appendChain(hashChain(before))
	if c.tx.isEscrowOperation() {
		c.walk.chains.appendChain(ownEventChain(before, c.tx.ID))
	}
}

// checkParty compares the chains up to a party's last entry, and the balances after it, with those
// in the transaction.
func (c *entryCheck) checkParty() {
	after := &c.walk.after
	for i := range c.tx.Parties {
		p := &c.tx.Parties[i]
		if p.Account != after.Account || p.Seq != c.e.Seq {
			continue
		}

		verifiesOneAccount := c.v.opts.Account != ""
		if verifiesOneAccount { // otherwise checkTransactions checks all transactions
			c.v.checkTransaction(c.tx)
		}

		chains := c.tx.partyChains(p)
		if !bytes.Equal(chains, c.walk.chains) {
			c.addEntryFinding(CheckChain, "the chains in the transaction are %x; the entries have %x", []byte(chains), []byte(c.walk.chains))
		}

		isEqual := p.Available == after.Available && p.Escrow == after.Escrow && p.Earned == after.Earned
		if !isEqual {
			c.addEntryFinding(
				CheckEntries,
				"the balances after the transaction are %d available, %d in escrow, %d earned; after its entries they are %d, %d, %d",
				p.Available, p.Escrow, p.Earned, after.Available, after.Escrow, after.Earned,
			)
		}
	}
}
