package wallet

import (
	"time"

	"github.com/google/uuid"
)

// wallet is an account's row, as a batch reads and changes it.
type wallet struct {
	Account   Account
	Available int64
	Escrow    int64
	Earned    int64
	Seq       int64
	Hash      []byte // of the newest entry; empty before the first
	UpdatedAt time.Time

	hashBefore []byte // Hash before the batch
	created    bool   // the database does not have the wallet yet
	changed    bool
}

func (w *wallet) currentBalance() Balance {
	p := w.toParty()
	return p.toBalance(w.UpdatedAt)
}

func (w *wallet) toParty() Party {
	return Party{
		Account:   w.Account,
		Seq:       w.Seq,
		Chain:     hashChain(w.Hash),
		Available: w.Available,
		Escrow:    w.Escrow,
		Earned:    w.Earned,
	}
}

// state holds the wallets and escrows that the operations of a batch name, as far as they exist.
// applyOp changes the state in place.
type state struct {
	wallets map[Account]*wallet
	escrows map[uuid.UUID]*Escrow
}

// newestChange returns the time of the last change of the operation's accounts. The transaction
// must not be earlier. So the times of an account's transactions never decrease, even if the clocks
// of several cores differ.
func (st *state) newestChange(op *Op) time.Time {
	accounts := [...]Account{op.Account, op.Model, ""}
	e := st.escrows[op.EscrowID]
	if e != nil {
		accounts[2] = e.User
	}

	var newest time.Time
	for _, a := range accounts {
		w := st.wallets[a]
		if w != nil && w.UpdatedAt.After(newest) {
			newest = w.UpdatedAt
		}
	}

	return newest
}

// ensureWallet returns the account's wallet. It creates the wallet if it does not exist.
func (st *state) ensureWallet(a Account) *wallet {
	w := st.wallets[a]
	if w == nil {
		w = &wallet{Account: a, created: true}
		st.wallets[a] = w
	}

	return w
}

// mainState returns the balance that credits and debits change.
func (w *wallet) mainState() BalanceState {
	if w.Account.IsModel() {
		return StateEarned
	}

	return StateAvailable
}

// balanceOf returns a pointer to one of the balances.
func (w *wallet) balanceOf(s BalanceState) *int64 {
	switch s {
	case StateAvailable:
		return &w.Available
	case StateEscrow:
		return &w.Escrow
	default:
		return &w.Earned
	}
}
