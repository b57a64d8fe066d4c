package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
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
	for {
		var page struct {
			Events []struct {
				Account string          `json:"account"`
				Seq     int64           `json:"seq"`
				Chain   string          `json:"chain"`
				Event   json.RawMessage `json:"event"`
			} `json:"events"`
			Last int64 `json:"last"`
		}
		path := "/v1/accounts/" + account + "/events?limit=1000&after=" + strconv.FormatInt(h.last(), 10)
		err := w.getJSON(core, token, path, &page)
		if err != nil {
			return h, err
		}
		for _, e := range page.Events {
			if e.Seq != h.last()+1 || e.Account != account {
				return h, fmt.Errorf("got event %d of %s, want event %d", e.Seq, e.Account, h.last()+1)
			}
			err := h.add(e.Chain, e.Event)
			if err != nil {
				return h, err
			}
		}
		if h.last() >= page.Last {
			break
		}
		if len(page.Events) == 0 {
			return h, fmt.Errorf("got events up to %d, want them up to %d", h.last(), page.Last)
		}
	}
	return h, w.checkBalance(core, token, h)
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
func (w *world) checkBalance(core *program, token string, h *history) error {
	var b balance
	err := w.getJSON(core, token, "/v1/accounts/"+h.account+"/balance", &b)
	if err != nil {
		return err
	}
	if !h.matches(b) {
		return fmt.Errorf("the balance is %+v, but the history ends with seq %d, chain %s, %v", b, h.last(), h.chains[h.last()], h.balances[h.last()])
	}
	if b.Seq != h.last() {
		return fmt.Errorf("the balance has seq %d, but the history ends with %d", b.Seq, h.last())
	}
	return nil
}

// matches reports whether a balance is the one after its seq.
func (h *history) matches(b balance) bool {
	return h.has(position{b.Seq, b.Chain}) && h.balances[b.Seq] == b.list()
}

func (b balance) list() [3]int64 {
	return [3]int64{b.AvailableBalance, b.EscrowBalance, b.EarnedBalance}
}

// getJSON reads from a core without a proxy. It retries for a while, because the core may be busy.
func (w *world) getJSON(core *program, token, path string, into any) error {
	deadline := time.Now().Add(patience)
	for {
		status, body := w.get("http://"+core.http+path, token, 10*time.Second)
		if status == http.StatusOK {
			return json.Unmarshal(body, into)
		}
		if (status != 0 && status != http.StatusServiceUnavailable) || time.Now().After(deadline) {
			return fmt.Errorf("GET %s: got %d %.300s", path, status, body)
		}
		pause(50 * time.Millisecond)
	}
}
