package wallet

import (
	"strings"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Account names the owner of points. An account "user:<id>" spends points. An account "model:<id>"
// earns points.
type Account string

// The system accounts. Points enter and leave the ledger through them. They have entries but no
// running balance.
const (
	SystemIssuance Account = "system:issuance"
	SystemPayout   Account = "system:payout"
)

// AccountType is the type of an account: the part of its name before the colon.
type AccountType string

// The types of accounts. Users and models hold points.
const (
	TypeUser   AccountType = "user"
	TypeModel  AccountType = "model"
	TypeSystem AccountType = "system"
)

// UserAccount returns the account of the user with an id, such as the userId of an event. It does
// not validate the id.
func UserAccount(id string) Account { return Account("user:" + id) }

// ModelAccount returns the account of the model with an id, such as the modelId of an event. It
// does not validate the id.
func ModelAccount(id string) Account { return Account("model:" + id) }

// ParseAccount returns s as an account. The text must be user:<id> or model:<id>, where <id>
// matches [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}. The error is an *InvalidError.
func ParseAccount(s string) (Account, error) {
	account := Account(s)
	holdsPoints := account.IsUser() || account.IsModel()
	switch {
	case !holdsPoints:
		return "", invalidField("/account", "account must be user:<id> or model:<id>")
	case !bus.ValidAccount(s):
		return "", invalidField("/account", "account id must match [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}")
	}

	return account, nil
}

// Type returns the account's type. It returns an empty type if the account has none of the types.
func (a Account) Type() AccountType {
	switch {
	case strings.HasPrefix(string(a), "user:"):
		return TypeUser
	case strings.HasPrefix(string(a), "model:"):
		return TypeModel
	case strings.HasPrefix(string(a), "system:"):
		return TypeSystem
	}

	return ""
}

// IsUser reports whether the account holds available points and escrow.
func (a Account) IsUser() bool { return a.Type() == TypeUser }

// IsModel reports whether the account holds earned points.
func (a Account) IsModel() bool { return a.Type() == TypeModel }

// ID returns the bare id: the part after the colon.
func (a Account) ID() string {
	_, id, _ := strings.Cut(string(a), ":")
	return id
}

// MaxAmount is the largest amount and the largest balance: 2^53-1. JavaScript represents every
// integer up to this value exactly.
const MaxAmount int64 = 1<<53 - 1
