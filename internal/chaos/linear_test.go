package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redroomrewards/realtime/pkg/client"
)

// linearTimeout bounds the search for one account. A history that is too hard is noted, but it is no
// violation: the other checks have verified it against the ledger.
const linearTimeout = 20 * time.Second

// accountState is the sequential specification of one account: its balances, its seq and its open
// escrows. It is comparable.
type accountState struct {
	balances [3]int64 // available, escrow, earned
	seq      int64
	open     string // ids of the open escrows, sorted, each ended by a blank
}

// step is one operation on an account as its client saw it.
type step struct {
	name     string
	changes  [3]int64 // available, escrow, earned
	events   int64
	opens    string // id of an escrow
	closes   string // id of an escrow
	isRead   bool
	refusal  string // the code; empty: it was done
	balances [3]int64
	seq      int64
}

// newAccountModel returns the specification for porcupine.
func newAccountModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return accountState{} },
		Step: func(state, input, _ any) (bool, any) {
			return input.(*step).apply(state.(accountState))
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", *input.(*step)) },
	}
}

// apply reports whether the step is possible in the state, and returns the state after it.
func (s *step) apply(state accountState) (bool, accountState) {
	isOpen := s.closes != "" && strings.Contains(state.open, s.closes+" ")
	switch {
	case s.isRead:
		return state.seq == s.seq && state.balances == s.balances, state
	case s.refusal == "insufficient_funds":
		return state.balances[0]+s.changes[0] < 0 || state.balances[2]+s.changes[2] < 0, state
	case s.refusal == "escrow_already_processed":
		return !isOpen, state
	case s.refusal == "amount_mismatch":
		return isOpen, state
	case s.refusal != "":
		return true, state
	case s.closes != "" && !isOpen:
		return false, state
	}
	next := state
	for i, change := range s.changes {
		next.balances[i] += change
	}
	next.seq += s.events
	if next.seq != s.seq || next.balances != s.balances {
		return false, state
	}
	if s.opens != "" {
		next.open = joinIDs(append(strings.Fields(state.open), s.opens))
	}
	if s.closes != "" {
		next.open = strings.Replace(state.open, s.closes+" ", "", 1)
	}
	return true, next
}

func joinIDs(ids []string) string {
	slices.Sort(ids)
	return strings.Join(ids, " ") + " "
}

// checkLinearizable searches for an order of the operations on each account that explains all answers:
// each operation takes effect at one moment between its first attempt and its answer.
func (e *episode) checkLinearizable(histories map[string]*history, found map[*call]*transaction) {
	if e.load.lossy {
		return
	}
	for _, account := range e.load.accounts() {
		operations := e.listSteps(account, histories[account], found)
		result := porcupine.CheckOperationsTimeout(newAccountModel(), operations, linearTimeout)
		e.report.addSearch(result != porcupine.Unknown)
		switch result {
		case porcupine.Illegal:
			e.w.journal.violate("the %d operations on %s are not linearizable", len(operations), account)
		case porcupine.Unknown:
			e.w.journal.note("porcupine found no answer within %s for the %d operations on %s", linearTimeout, len(operations), account)
		}
	}
}

// listSteps lists the operations on an account, with the times of their clients.
func (e *episode) listSteps(account string, h *history, found map[*call]*transaction) []porcupine.Operation {
	var list []porcupine.Operation
	end := e.load.since()
	add := func(s *step, began, ended time.Duration) {
		list = append(list, porcupine.Operation{ClientId: len(list), Input: s, Call: int64(began), Return: int64(ended)})
	}
	for _, c := range e.load.calls {
		tx := found[c]
		isConcerned := c.account == account || (c.model == account && tx != nil)
		if !isConcerned {
			continue
		}
		s := newStep(c, account)
		if tx == nil {
			s.refusal = c.code
			add(s, c.began, c.ended)
			continue
		}
		s.complete(h, tx)
		if c.operation == client.OperationHold {
			s.opens = tx.escrow
		}
		if c.done {
			add(s, c.began, c.ended)
		} else {
			add(s, c.began, end) // an attempt without an answer was done after another one was refused
		}
	}
	for _, tx := range listTransactions(map[string]*history{account: h}) {
		if tx.reason == expiryReason {
			s := &step{name: "expiry", closes: tx.escrow, changes: tx.changesOf(account), events: 3}
			s.complete(h, tx)
			add(s, 0, end)
		}
	}
	for _, r := range e.load.reads {
		if r.account == account {
			add(&step{name: "read", isRead: true, seq: r.balance.Seq, balances: listBalances(r.balance)}, r.began, r.ended)
		}
	}
	return list
}

// newStep returns what the call asks of the account.
func newStep(c *call, account string) *step {
	s := &step{name: c.operation, events: int64(c.eventCount(account))}
	for name, change := range c.expectedChanges() {
		owner, state, _ := strings.Cut(name, " ")
		if owner == account {
			s.changes[balanceIndex[state]] = change
		}
	}
	if c.escrow != nil && c.account == account {
		s.closes = c.escrow.id
	}
	return s
}

// complete adds the state after the transaction.
func (s *step) complete(h *history, tx *transaction) {
	seqs := tx.events[h.account]
	s.seq = seqs[len(seqs)-1]
	s.balances = h.balances[s.seq]
}

// changesOf returns the changes of one account.
func (tx *transaction) changesOf(account string) [3]int64 {
	var changes [3]int64
	for state, i := range balanceIndex {
		changes[i] = tx.changes[account+" "+state]
	}
	return changes
}
