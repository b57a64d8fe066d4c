package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
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

// MarshalJSON returns what AppendJSON appends.
func (b Balance) MarshalJSON() ([]byte, error) { return b.AppendJSON(nil), nil }

// AppendJSON appends the balance of the wire contract:
// {"accountId","accountType","availableBalance"?,"escrowBalance"?,"earnedBalance"?,"currency":"points","seq","lastUpdated"}.
// lastUpdated is 1970-01-01T00:00:00.000Z if the account never changed. It is the only writer of a
// balance. It is written by hand, since reflection takes ten times as long.
func (b *Balance) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"accountId":`...)
	dst = appendAccount(dst, b.Account)
	if b.IsModel() {
		dst = append(dst, `,"accountType":"model","earnedBalance":`...)
		dst = strconv.AppendInt(dst, b.Earned, 10)
	} else {
		dst = append(dst, `,"accountType":"user","availableBalance":`...)
		dst = strconv.AppendInt(dst, b.Available, 10)
		dst = append(dst, `,"escrowBalance":`...)
		dst = strconv.AppendInt(dst, b.Escrow, 10)
	}
	dst = append(dst, `,"currency":"points","seq":`...)
	dst = strconv.AppendInt(dst, b.Seq, 10)
	dst = append(dst, `,"lastUpdated":"`...)
	at := b.UpdatedAt
	if at.IsZero() {
		at = time.UnixMilli(0)
	}
	dst = at.UTC().AppendFormat(dst, TimeFormat)
	return append(dst, `"}`...)
}

// appendAccount appends a JSON string. A valid account has nothing to escape.
func appendAccount(dst []byte, account string) []byte {
	if !ValidAccount(account) {
		quoted, _ := json.Marshal(account) // marshalling a string never fails
		return append(dst, quoted...)
	}
	dst = append(dst, '"')
	dst = append(dst, account...)
	return append(dst, '"')
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
