package wallet

import (
	"regexp"
	"strings"
)

// An Account names whose points they are: "user:<id>", who spends, or
// "model:<id>", who earns.
type Account string

// The system accounts, through which points enter and leave. They have entries
// and no running balance.
const (
	SystemIssuance Account = "system:issuance"
	SystemPayout   Account = "system:payout"
)

// AccountType is "user" or "model".
type AccountType string

// The types of accounts that hold points.
const (
	TypeUser  AccountType = "user"
	TypeModel AccountType = "model"
)

var accountID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$`)

// ParseAccount checks the form user:<id> or model:<id>, where <id> matches
// [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}. The error is an *InvalidError.
func ParseAccount(s string) (Account, error) {
	kind, id, ok := strings.Cut(s, ":")
	if !ok || (kind != string(TypeUser) && kind != string(TypeModel)) {
		return "", invalid("/account", "an account is user:<id> or model:<id>")
	}
	if !accountID.MatchString(id) {
		return "", invalid("/account", "an account's id matches [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}
	return Account(s), nil
}

// Type tells a user from a model; it is empty for a system account.
func (a Account) Type() AccountType {
	switch {
	case strings.HasPrefix(string(a), "user:"):
		return TypeUser
	case strings.HasPrefix(string(a), "model:"):
		return TypeModel
	}
	return ""
}

// IsUser tells whether the account holds available points and escrow.
func (a Account) IsUser() bool { return a.Type() == TypeUser }

// IsModel tells whether the account holds earned points.
func (a Account) IsModel() bool { return a.Type() == TypeModel }

// ID is the part after the colon.
func (a Account) ID() string {
	_, id, _ := strings.Cut(string(a), ":")
	return id
}

// MaxAmount is the largest amount and the largest balance, 2^53-1: JavaScript
// can hold it exactly.
const MaxAmount int64 = 1<<53 - 1
