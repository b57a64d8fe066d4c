package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Balance is an account's state: what HTTP and the WebSocket show, and what the
// balance hash in Redis holds. Amounts are whole points. A user has Available
// and Escrow, a model has Earned; the others are zero.
type Balance struct {
	Account   string
	Available int64
	Escrow    int64
	Earned    int64
	Seq       int64     // seq of the newest event that these amounts include; 0: the account is unknown
	UpdatedAt time.Time // zero: never
}

// TimeFormat is how times look in everything that leaves the system: RFC 3339,
// UTC, milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z07:00"

// IsModel tells a model's balance from a user's.
func (b Balance) IsModel() bool { return strings.HasPrefix(b.Account, "model:") }

type userBalance struct {
	AccountID        string `json:"accountId"`
	AccountType      string `json:"accountType"`
	AvailableBalance int64  `json:"availableBalance"`
	EscrowBalance    int64  `json:"escrowBalance"`
	Currency         string `json:"currency"`
	Seq              int64  `json:"seq"`
	LastUpdated      string `json:"lastUpdated"`
}

type modelBalance struct {
	AccountID     string `json:"accountId"`
	AccountType   string `json:"accountType"`
	EarnedBalance int64  `json:"earnedBalance"`
	Currency      string `json:"currency"`
	Seq           int64  `json:"seq"`
	LastUpdated   string `json:"lastUpdated"`
}

// MarshalJSON gives the balance of the wire contract:
// {"accountId","accountType","availableBalance"?,"escrowBalance"?,"earnedBalance"?,"currency":"points","seq","lastUpdated"}.
// lastUpdated of an account that never changed is 1970-01-01T00:00:00.000Z.
func (b Balance) MarshalJSON() ([]byte, error) {
	at := b.UpdatedAt
	if at.IsZero() {
		at = time.UnixMilli(0)
	}
	updated := at.UTC().Format(TimeFormat)
	if b.IsModel() {
		return json.Marshal(modelBalance{b.Account, "model", b.Earned, "points", b.Seq, updated})
	}
	return json.Marshal(userBalance{b.Account, "user", b.Available, b.Escrow, "points", b.Seq, updated})
}

// UnmarshalJSON reads what MarshalJSON wrote. A balance that lacks one of its
// type's amounts is an error: half a balance must never be shown as zero.
func (b *Balance) UnmarshalJSON(data []byte) error {
	var w struct {
		AccountID        string    `json:"accountId"`
		AccountType      string    `json:"accountType"`
		AvailableBalance *int64    `json:"availableBalance"`
		EscrowBalance    *int64    `json:"escrowBalance"`
		EarnedBalance    *int64    `json:"earnedBalance"`
		Seq              int64     `json:"seq"`
		LastUpdated      time.Time `json:"lastUpdated"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*b = Balance{Account: w.AccountID, Seq: w.Seq}
	if w.LastUpdated.UnixMilli() != 0 {
		b.UpdatedAt = w.LastUpdated
	}
	switch {
	case w.AccountType == "user" && w.AvailableBalance != nil && w.EscrowBalance != nil:
		b.Available, b.Escrow = *w.AvailableBalance, *w.EscrowBalance
	case w.AccountType == "model" && w.EarnedBalance != nil:
		b.Earned = *w.EarnedBalance
	default:
		return fmt.Errorf("balance of %q is incomplete", w.AccountID)
	}
	return nil
}
