package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// Balance is an account's state, in whole points. A user has Available and Escrow, and a model has
// Earned. The other amounts are zero.
type Balance struct {
	Account     string    `json:"account"`     // full name, such as user:u1
	AccountID   string    `json:"accountId"`   // without user: or model:
	AccountType string    `json:"accountType"` // user or model
	Available   int64     `json:"availableBalance"`
	Escrow      int64     `json:"escrowBalance"`
	Earned      int64     `json:"earnedBalance"`
	Currency    string    `json:"currency"`    // points
	Seq         int64     `json:"seq"`         // of the newest event that the amounts include; 0: none
	Chain       string    `json:"chain"`       // identifies the account's history up to that event
	UpdatedAt   time.Time `json:"lastUpdated"` // of that event; 1970 if the account never changed
}

// IsModel reports whether the balance is a model's.
func (b *Balance) IsModel() bool { return b.AccountType == "model" }

// UnmarshalJSON decodes a balance. An amount of the account's type must be there, because a missing
// amount must never be shown as zero.
func (b *Balance) UnmarshalJSON(data []byte) error {
	type plain Balance // without this method
	var w struct {
		plain
		Available *int64 `json:"availableBalance"`
		Escrow    *int64 `json:"escrowBalance"`
		Earned    *int64 `json:"earnedBalance"`
	}
	err := json.Unmarshal(data, &w)
	if err != nil {
		return err
	}

	*b = Balance(w.plain)
	switch {
	case b.AccountType == "user" && w.Available != nil && w.Escrow != nil:
		b.Available = *w.Available
		b.Escrow = *w.Escrow
	case b.AccountType == "model" && w.Earned != nil:
		b.Earned = *w.Earned
	default:
		return fmt.Errorf("the balance of %q must have a known type and all of its amounts", b.Account)
	}
	return nil
}

// applyEvent moves the balance on to an event of its account. It takes the balances that the event
// itself states.
func (b *Balance) applyEvent(seq int64, chain string, event Event) {
	b.Seq = seq
	b.Chain = chain
	b.UpdatedAt = event.Header().Timestamp

	switch e := event.(type) {
	case *EscrowHeld:
		b.setUserBalances(&e.UserAvailableBalance, &e.UserEscrowBalance)
	case *EscrowRefunded:
		b.setUserBalances(&e.UserAvailableBalance, &e.UserEscrowBalance)
	case *EscrowPartialSettled:
		b.setUserBalances(e.UserAvailableBalance, e.UserEscrowBalance)
		b.setEarned(e.ModelEarnedBalance)
	case *EscrowSettled:
		b.setEarned(e.ModelEarnedBalance)
	case *BalanceUpdated:
		switch e.BalanceState {
		case "available":
			b.Available = e.BalanceAfter
		case "escrow":
			b.Escrow = e.BalanceAfter
		case "earned":
			b.Earned = e.BalanceAfter
		}
	}
}

func (b *Balance) setUserBalances(available, escrow *int64) {
	if b.IsModel() || available == nil || escrow == nil {
		return
	}
	b.Available = *available
	b.Escrow = *escrow
}

func (b *Balance) setEarned(earned *int64) {
	if !b.IsModel() || earned == nil {
		return
	}
	b.Earned = *earned
}
