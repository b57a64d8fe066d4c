package chaos

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/client"
)

// event is an event of the wire contract.
type event struct {
	EventType     string `json:"eventType"`
	TransactionID string `json:"transactionId"`
	CorrelationID string `json:"correlationId"`
	Reason        string `json:"reason"`
	Timestamp     string `json:"timestamp"`
	EscrowID      string `json:"escrowId"`
	Amount        int64  `json:"amount"`
	BalanceState  string `json:"balanceState"`
	BalanceBefore int64  `json:"balanceBefore"`
	BalanceAfter  int64  `json:"balanceAfter"`
	ChangeAmount  int64  `json:"changeAmount"`
}

// history is an account as the ledger has it in the end. Index i is seq i; index 0 is the account
// before its first event.
type history struct {
	account  string
	chains   []string
	balances [][3]int64 // available, escrow, earned
	events   []event
}

// has reports whether the position is part of the history.
func (h *history) has(p position) bool {
	return p.seq >= 0 && p.seq < int64(len(h.chains)) && h.chains[p.seq] == p.chain
}

func (h *history) last() int64 { return int64(len(h.chains)) - 1 }

const noChain = "0000000000000000"

// balanceIndex is the position of each state in a list of balances.
var balanceIndex = map[string]int{"available": 0, "escrow": 1, "earned": 2}

// readHistories reads the history of each account and checks it: seqs without a gap, and balances
// that follow from each other up to the present one.
func (w *world) readHistories(core *program, token string, accounts []string) map[string]*history {
	histories := map[string]*history{}
	for _, account := range accounts {
		h, err := w.readHistory(core, token, account)
		if err != nil {
			w.journal.violate("history of %s at %s: %v", account, core.name, err)
		}
		histories[account] = h
	}
	return histories
}

func (w *world) readHistory(core *program, token, account string) (*history, error) {
	h := &history{account: account, chains: []string{noChain}, balances: [][3]int64{{}}, events: []event{{}}}
	ledger := w.newLedger("http://"+core.http, token, client.LedgerConfig{HTTPClient: w.http, RetryFor: patience})
	for e, err := range ledger.Events(context.Background(), account, 0) {
		if err != nil {
			return h, err
		}
		err = h.add(e.Chain, e.JSON)
		if err != nil {
			return h, err
		}
	}
	b, err := ledger.Balance(context.Background(), account)
	if err != nil {
		return h, err
	}
	err = h.checkBalance(b)
	return h, err
}

// add adds an event and computes the balances after it.
func (h *history) add(chain string, raw json.RawMessage) error {
	var e event
	err := json.Unmarshal(raw, &e)
	if err != nil {
		return err
	}
	balances := h.balances[h.last()]
	if e.EventType == "wallet.balance_updated" {
		i := balanceIndex[e.BalanceState]
		if e.BalanceBefore != balances[i] || e.BalanceAfter != e.BalanceBefore+e.ChangeAmount || e.BalanceAfter < 0 {
			return fmt.Errorf("event %d does not follow from %v: %s", h.last()+1, balances, raw)
		}
		balances[i] = e.BalanceAfter
	}
	h.chains = append(h.chains, chain)
	h.balances = append(h.balances, balances)
	h.events = append(h.events, e)
	return nil
}

// checkBalance compares the present balance with the history.
func (h *history) checkBalance(b client.Balance) error {
	if !h.matches(b) {
		return fmt.Errorf("the balance is %+v, but the history ends with seq %d, chain %s, %v", b, h.last(), h.chains[h.last()], h.balances[h.last()])
	}
	if b.Seq != h.last() {
		return fmt.Errorf("the balance has seq %d, but the history ends with %d", b.Seq, h.last())
	}
	return nil
}

// matches reports whether a balance is the one after its seq.
func (h *history) matches(b client.Balance) bool {
	return h.has(position{b.Seq, b.Chain}) && h.balances[b.Seq] == listBalances(b)
}

func listBalances(b client.Balance) [3]int64 { return [3]int64{b.Available, b.Escrow, b.Earned} }
