package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Balance is an account's state, as in HTTP responses, WebSocket frames and the balance hash in
// Redis. Amounts are whole points. A user has Available and Escrow, and a model has Earned. The
// other amounts are zero.
type Balance struct {
	Account   string
	Available int64
	Escrow    int64
	Earned    int64
	Seq       int64     // seq of the newest event that these amounts include; 0: the account is unknown
	Chain     Chain     // of the same event
	UpdatedAt time.Time // zero: never
}

// TimeFormat is the format of all times that leave the system: RFC 3339 with milliseconds. The
// times are in UTC.
const TimeFormat = "2006-01-02T15:04:05.000Z07:00"

// IsModel reports whether the balance is a model's.
func (b Balance) IsModel() bool { return strings.HasPrefix(b.Account, "model:") }

// MarshalJSON returns what AppendJSON appends.
func (b Balance) MarshalJSON() ([]byte, error) { return b.AppendJSON(nil), nil }

// AppendJSON appends the balance of the wire contract:
//
//	{"account","accountId","accountType","availableBalance"?,"escrowBalance"?,"earnedBalance"?,
//	"currency":"points","seq","chain","lastUpdated"}
//
// lastUpdated is 1970-01-01T00:00:00.000Z if the account never changed. No other function writes the
// JSON of a balance. It does not use reflection, which takes ten times as long.
func (b *Balance) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"account":`...)
	dst = appendAccount(dst, b.Account)
	dst = append(dst, `,"accountId":`...)
	dst = appendAccountID(dst, b.Account)
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
	dst = append(dst, `,"chain":"`...)
	dst = b.Chain.AppendHex(dst)
	dst = append(dst, `","lastUpdated":"`...)
	at := b.UpdatedAt
	if at.IsZero() {
		at = time.UnixMilli(0)
	}

	dst = at.UTC().AppendFormat(dst, TimeFormat)
	return append(dst, `"}`...)
}

// appendAccount appends the account as a JSON string. A valid account needs no escaping.
func appendAccount(dst []byte, account string) []byte {
	if !ValidAccount(account) {
		return appendQuoted(dst, account)
	}

	dst = append(dst, '"')
	dst = append(dst, account...)
	return append(dst, '"')
}

// appendAccountID appends the account's id as a JSON string.
func appendAccountID(dst []byte, account string) []byte {
	if !ValidAccount(account) {
		return appendQuoted(dst, AccountID(account))
	}

	dst = append(dst, '"')
	dst = append(dst, AccountID(account)...)
	return append(dst, '"')
}

func appendQuoted(dst []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // a string can always be marshaled
	return append(dst, quoted...)
}

// UnmarshalJSON decodes the output of MarshalJSON. It returns an error if an amount of the
// account's type is missing, since a missing amount must never be shown as zero.
func (b *Balance) UnmarshalJSON(data []byte) error {
	var w struct {
		Account          string    `json:"account"`
		AccountType      string    `json:"accountType"`
		AvailableBalance *int64    `json:"availableBalance"`
		EscrowBalance    *int64    `json:"escrowBalance"`
		EarnedBalance    *int64    `json:"earnedBalance"`
		Seq              int64     `json:"seq"`
		Chain            Chain     `json:"chain"`
		LastUpdated      time.Time `json:"lastUpdated"`
	}

	err := json.Unmarshal(data, &w)
	if err != nil {
		return err
	}

	*b = Balance{Account: w.Account, Seq: w.Seq, Chain: w.Chain}
	if w.LastUpdated.UnixMilli() != 0 {
		b.UpdatedAt = w.LastUpdated
	}

	switch {
	case w.AccountType == "user" && w.AvailableBalance != nil && w.EscrowBalance != nil:
		b.Available = *w.AvailableBalance
		b.Escrow = *w.EscrowBalance
	case w.AccountType == "model" && w.EarnedBalance != nil:
		b.Earned = *w.EarnedBalance
	default:
		return fmt.Errorf("balance of %q must have a known type and all of its amounts", w.Account)
	}

	return nil
}
