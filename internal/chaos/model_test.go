package chaos

import (
	"slices"
	"strings"

	"github.com/redroomrewards/realtime/pkg/client"
)

// expiryReason is the reason of a refund that the core does itself.
const expiryReason = "rope_drop_timeout"

// transaction is one that the ledger has, with the number of its events by account.
type transaction struct {
	id      string
	key     string // the correlation id: the key of the call
	reason  string
	events  map[string][]int64 // seqs by account
	escrow  string
	changes map[string]int64 // by account and state, such as "user:u1 available"
}

// listTransactions groups the events of all accounts.
func listTransactions(histories map[string]*history) map[string]*transaction {
	list := map[string]*transaction{}
	for account, h := range histories {
		for seq := int64(1); seq <= h.last(); seq++ {
			e := h.events[seq]
			tx := list[e.TransactionID]
			if tx == nil {
				tx = &transaction{id: e.TransactionID, key: e.CorrelationID, reason: e.Reason, events: map[string][]int64{}, changes: map[string]int64{}}
				list[e.TransactionID] = tx
			}
			tx.events[account] = append(tx.events[account], seq)
			if e.EscrowID != "" {
				tx.escrow = e.EscrowID
			}
			if e.BalanceState != "" {
				tx.changes[account+" "+e.BalanceState] += e.ChangeAmount
			}
		}
	}
	return list
}

// expectedChanges returns what the call does to balances, by account and state.
func (c *call) expectedChanges() map[string]int64 {
	available := c.account + " available"
	held := c.account + " escrow"
	earned := c.model + " earned"
	switch c.operation {
	case client.OperationCredit, client.OperationDebit:
		state := available
		if strings.HasPrefix(c.account, "model:") {
			state = c.account + " earned"
		}
		if c.operation == client.OperationDebit {
			return map[string]int64{state: -c.amount}
		}
		return map[string]int64{state: c.amount}
	case client.OperationHold:
		return map[string]int64{available: -c.amount, held: c.amount}
	case client.OperationSettle:
		return map[string]int64{held: -c.amount, earned: c.amount}
	case client.OperationRefund:
		return map[string]int64{held: -c.amount, available: c.amount}
	}
	return map[string]int64{held: -c.amount - c.settled, available: c.amount, earned: c.settled}
}

// eventCount returns how many events the call makes for an account.
func (c *call) eventCount(account string) int {
	switch {
	case c.operation == client.OperationCredit || c.operation == client.OperationDebit:
		return 1
	case account == c.model || c.operation == client.OperationSettle:
		return 2
	}
	return 3
}

// checkCalls compares the answers with the ledger: each success is in it exactly once, refusals
// changed nothing, and it has nothing that nobody asked for. It returns the transaction of each call
// that is in the ledger.
func (l *load) checkCalls(histories map[string]*history, probeKeys func(key string) bool) map[*call]*transaction {
	j := l.w.journal
	byKey := map[string]*call{}
	for _, c := range l.calls {
		byKey[c.key] = c
	}
	found := map[*call]*transaction{}
	expiries := map[string]int{}
	for _, tx := range listTransactions(histories) {
		c := byKey[tx.key]
		switch {
		case tx.reason == expiryReason:
			expiries[tx.escrow]++
			l.checkExpiry(tx, expiries[tx.escrow])
		case probeKeys(tx.key):
		case c == nil:
			j.violate("the ledger has the transaction %s with the key %q, which nobody sent", tx.id, tx.key)
		case found[c] != nil:
			j.violate("the ledger has two transactions, %s and %s, for %s", found[c].id, tx.id, c)
		default:
			found[c] = tx
			l.checkTransaction(c, tx)
		}
	}
	for _, c := range l.calls {
		l.checkAnswer(c, found[c], histories)
	}
	return found
}

// checkExpiry wants the refund to belong to a hold that expires.
func (l *load) checkExpiry(tx *transaction, count int) {
	if count > 1 {
		l.w.journal.violate("the escrow %s expired twice; the second transaction is %s", tx.escrow, tx.id)
	}
	for _, c := range l.calls {
		if c.operation == client.OperationHold && c.receipt.EscrowID == tx.escrow && c.expires == 0 {
			l.w.journal.violate("the transaction %s is the expiry of an escrow that does not expire: %s", tx.id, c)
		}
	}
}

// checkTransaction compares a transaction with what the call asked for.
func (l *load) checkTransaction(c *call, tx *transaction) {
	want := c.expectedChanges()
	for name, change := range want {
		if tx.changes[name] != change {
			l.w.journal.violate("the transaction %s changed %s by %d, want %d: %s", tx.id, name, tx.changes[name], change, c)
		}
	}
	for name := range tx.changes {
		_, expected := want[name]
		if !expected {
			l.w.journal.violate("the transaction %s changed %s: %s", tx.id, name, c)
		}
	}
	for account, seqs := range tx.events {
		isNext := seqs[len(seqs)-1] == seqs[0]+int64(len(seqs))-1
		if len(seqs) != c.eventCount(account) || !isNext {
			l.w.journal.violate("the transaction %s has the events %v of %s, want %d in a row: %s", tx.id, seqs, account, c.eventCount(account), c)
		}
	}
}

// checkAnswer compares the answer of a call with the ledger.
func (l *load) checkAnswer(c *call, tx *transaction, histories map[string]*history) {
	j := l.w.journal
	switch {
	case c.done && (tx == nil || tx.id != c.receipt.TransactionID) && c.began < l.restored:
		return // it was lost with the ledger's last commits; perhaps a repeat did it again
	case c.done && tx == nil:
		j.violate("LOST: the ledger does not have %s", c)
		return
	case c.done && tx.id != c.receipt.TransactionID:
		j.violate("the ledger has the transaction %s for %s", tx.id, c)
		return
	case !c.done && tx != nil && !c.abandoned:
		j.violate("the ledger has the transaction %s for a refused operation: %s", tx.id, c)
	}
	if !c.done {
		l.checkRefusal(c)
		return
	}
	for _, b := range c.receipt.Balances {
		h := histories[b.Account]
		if h == nil || !h.matches(b) {
			j.violate("the receipt has the balance %+v, which the ledger never had: %s", b, c)
			continue
		}
		if !slices.Contains(tx.events[b.Account], b.Seq) {
			j.violate("the receipt has seq %d of %s, but the events are %v: %s", b.Seq, b.Account, tx.events[b.Account], c)
		}
	}
}

// checkRefusal wants a code that fits what was asked for.
func (l *load) checkRefusal(c *call) {
	possible := []string{"escrow_already_processed"}
	switch {
	case c.operation == client.OperationCredit:
		possible = nil
	case c.amount == 0:
		possible = []string{"invalid_request"}
	case c.operation == client.OperationDebit || c.operation == client.OperationHold:
		possible = []string{"insufficient_funds"}
	case c.operation == client.OperationRefund && c.escrow.amount == 1:
		possible = []string{"escrow_not_found"} // impossibleCall made the id up
	case c.operation == client.OperationRefund && c.amount != c.escrow.amount:
		possible = []string{"amount_mismatch", "escrow_already_processed"}
	}
	if l.lossy {
		possible = append(possible, "escrow_not_found", "account_not_found", "insufficient_funds")
	}
	if c.code != "" && !slices.Contains(possible, c.code) {
		l.w.journal.violate("refused with %s, want one of %v: %s", c.code, possible, c)
	}
}

// checkReads wants each balance that was read to be one that the ledger had.
func (l *load) checkReads(histories map[string]*history) {
	if l.lossy {
		return
	}
	for _, r := range append(l.reads, l.gatewayReads...) {
		if !histories[r.account].matches(r.balance) {
			l.w.journal.violate("%s answered the balance %+v at %.3f s, which the ledger never had", r.source, r.balance, r.ended.Seconds())
		}
	}
}
