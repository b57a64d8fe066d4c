// Package request validates the subscribe frames of clients, and has the filters of their
// subscriptions.
package request

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// AllAccounts is the entry of accounts that stands for all accounts.
const AllAccounts = "*"

// MaxNameBytes is the maximum length of the name of a subscription.
const MaxNameBytes = 64

const maxFilterValue = 128 // bytes

// A Request is a valid subscribe frame.
type Request struct {
	Name     string
	Accounts []string // nil: all accounts
	Filter   Filter
	After    map[string]int64
	Chain    map[string]bus.Chain // of some accounts of After
	Snapshot bool
}

// A Scope has the accounts that a token covers.
type Scope struct {
	Accounts    []string // named by the token
	AllAccounts bool     // the token covers every account
}

// CoversAccount reports whether the token covers the account.
func (s Scope) CoversAccount(account string) bool {
	return s.AllAccounts || slices.Contains(s.Accounts, account)
}

// A Validator validates subscribe frames.
type Validator struct {
	MaxAccounts     int // of a subscription
	MaxFilterValues int // in each list of a filter
	Metrics         *metrics.Metrics
}

// AccountsMessage returns the message for a wrong number of accounts.
func (v *Validator) AccountsMessage() string {
	return fmt.Sprintf("accounts must have 1 to %d entries", v.MaxAccounts)
}

func badRequest(format string, args ...any) *protocol.Refusal {
	return protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf(format, args...))
}

// ValidateSubscribe returns the request of a subscribe frame, or the reason why it is refused.
func (v *Validator) ValidateSubscribe(
	f *protocol.ClientFrame, scope Scope,
) (*Request, *protocol.Refusal) {
	if f.Sub == nil || !isValidSubName(*f.Sub) {
		return nil, badRequest("sub must be a name of 1 to %d bytes", MaxNameBytes)
	}

	r := &Request{
		Name:     *f.Sub,
		After:    f.After,
		Chain:    f.Chain,
		Snapshot: f.Snapshot == nil || *f.Snapshot,
		Filter: Filter{
			Types:    f.Types,
			Reasons:  f.Reasons,
			Features: f.Features,
		},
	}

	refused := v.validateFilter(&r.Filter, f.MinAmount)
	if refused != nil {
		return nil, refused
	}

	names := f.Accounts
	if names == nil {
		names = scope.Accounts
		if len(names) == 0 {
			return nil, badRequest("accounts is required because the token names no account")
		}
	}

	if slices.Contains(names, AllAccounts) {
		return r, validateAllAccounts(names, f, scope)
	}

	refused = v.validateAccounts(names, scope)
	if refused != nil {
		return nil, refused
	}

	r.Accounts = RemoveDuplicates(names)
	refused = validateAfter(f.After, r.Accounts)
	if refused != nil {
		return nil, refused
	}

	return r, validateChain(f.Chain, f.After)
}

func isValidSubName(name string) bool {
	return name != "" && len(name) <= MaxNameBytes && utf8.ValidString(name)
}

// IsAllAccounts reports whether accounts is ["*"].
func IsAllAccounts(accounts []string) bool {
	return len(accounts) == 1 && accounts[0] == AllAccounts
}

// validateFilter validates the lists of the filter and minAmount, which may be nil. It sets the
// minimum amount of the filter.
func (v *Validator) validateFilter(f *Filter, minAmount *int64) *protocol.Refusal {
	refused := v.validateList("types", f.Types)
	if refused != nil {
		return refused
	}

	refused = v.validateList("reasons", f.Reasons)
	if refused != nil {
		return refused
	}

	refused = v.validateList("features", f.Features)
	if refused != nil {
		return refused
	}

	if minAmount == nil {
		return nil
	}

	if *minAmount < 1 || *minAmount > protocol.MaxAmount {
		return badRequest("minAmount must be an integer from 1 to %d", protocol.MaxAmount)
	}

	f.MinAmount = *minAmount
	return nil
}

// validateList validates a list of the filter. The list is nil when the frame does not have it.
func (v *Validator) validateList(name string, values []string) *protocol.Refusal {
	if values == nil {
		return nil
	}

	limit := v.MaxFilterValues
	if len(values) > limit {
		v.Metrics.CountLimit(metrics.LimitFilterValues)
	}

	if len(values) == 0 || len(values) > limit {
		return badRequest("%s must have 1 to %d values; omit it to match every value", name, limit)
	}

	for _, value := range values {
		if value == "" || len(value) > maxFilterValue {
			return badRequest("each value in %s must have 1 to %d bytes", name, maxFilterValue)
		}
	}

	return nil
}

// validateAllAccounts validates a subscription to ["*"].
func validateAllAccounts(names []string, f *protocol.ClientFrame, scope Scope) *protocol.Refusal {
	switch {
	case len(names) != 1:
		return badRequest(`"*" must be the only entry of accounts`)
	case len(f.After) > 0 || len(f.Chain) > 0:
		return badRequest(`after and chain must be absent when accounts is ["*"]`)
	case !scope.AllAccounts:
		return protocol.Refuse(protocol.CodeForbidden, "the token does not cover all accounts; its scope must include events:all")
	}

	return nil
}

func (v *Validator) validateAccounts(names []string, scope Scope) *protocol.Refusal {
	limit := v.MaxAccounts
	if len(names) > limit {
		v.Metrics.CountLimit(metrics.LimitAccounts)
	}

	if len(names) == 0 || len(names) > limit {
		return badRequest("%s", v.AccountsMessage())
	}

	for _, account := range names {
		if !bus.ValidAccount(account) {
			return badRequest("each account must be user:<id> or model:<id>")
		}
	}

	for _, account := range names {
		if !scope.CoversAccount(account) {
			return protocol.Refuse(protocol.CodeForbidden, "the token does not cover "+account+"; its sub or its accounts must name it")
		}
	}

	return nil
}

func validateAfter(after map[string]int64, accounts []string) *protocol.Refusal {
	for account, seq := range after {
		inRange := seq >= 0 && seq <= protocol.MaxAmount
		if !inRange || !slices.Contains(accounts, account) {
			return badRequest("after must map accounts of the subscription to a seq of at least 0")
		}
	}

	return nil
}

// validateChain validates the chains of a subscribe frame. Their form was validated by the decoder.
func validateChain(chain map[string]bus.Chain, after map[string]int64) *protocol.Refusal {
	for account := range chain {
		_, hasAfter := after[account]
		if !hasAfter {
			return badRequest("chain must name only accounts that are in after")
		}
	}

	return nil
}

// RemoveDuplicates returns the distinct values of the list in their order.
func RemoveDuplicates(list []string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}

	return out
}
