package ws

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

const (
	everyAccount   = "*"
	maxSubName     = 64  // bytes
	maxFilterValue = 128 // bytes
)

// request is a subscribe frame that is valid.
type request struct {
	name     string
	accounts []string // nil: every account
	filter   filter
	after    map[string]int64
	snapshot bool
}

func badRequest(format string, args ...any) *protocol.Refusal {
	return protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf(format, args...))
}

// validateSubscribe turns the frame into a request, or says what is wrong with it.
func (h *Hub) validateSubscribe(f *protocol.ClientFrame, identity *Identity) (*request, *protocol.Refusal) {
	if f.Sub == nil || !validSubName(*f.Sub) {
		return nil, badRequest("sub is a name of 1 to %d bytes", maxSubName)
	}
	r := &request{
		name:     *f.Sub,
		after:    f.After,
		snapshot: f.Snapshot == nil || *f.Snapshot,
		filter:   filter{types: f.Types, reasons: f.Reasons, features: f.Features},
	}
	if refused := h.validateFilter(&r.filter, f.MinAmount); refused != nil {
		return nil, refused
	}
	names := f.Accounts
	if names == nil {
		names = identity.Accounts
		if len(names) == 0 {
			return nil, protocol.Refuse(protocol.CodeForbidden, "the token names no account: name the accounts")
		}
	}
	if slices.Contains(names, everyAccount) {
		return r, validateEveryAccount(names, f.After, identity)
	}
	if refused := h.validateAccounts(names, identity); refused != nil {
		return nil, refused
	}
	r.accounts = distinct(names)
	return r, validateAfter(f.After, r.accounts)
}

func validSubName(name string) bool {
	return name != "" && len(name) <= maxSubName && utf8.ValidString(name)
}

// isEveryAccount reports whether accounts is ["*"].
func isEveryAccount(accounts []string) bool {
	return len(accounts) == 1 && accounts[0] == everyAccount
}

func (h *Hub) validateFilter(into *filter, minAmount *int64) *protocol.Refusal {
	if refused := h.validateList("types", into.types); refused != nil {
		return refused
	}
	if refused := h.validateList("reasons", into.reasons); refused != nil {
		return refused
	}
	if refused := h.validateList("features", into.features); refused != nil {
		return refused
	}
	if minAmount == nil {
		return nil
	}
	if *minAmount < 1 || *minAmount > protocol.MaxAmount {
		return badRequest("minAmount is a whole number from 1 to %d", protocol.MaxAmount)
	}
	into.minAmount = *minAmount
	return nil
}

// validateList checks a list of the filter, which is nil when it was left out.
func (h *Hub) validateList(name string, values []string) *protocol.Refusal {
	if values == nil {
		return nil
	}
	most := h.cfg.MaxFilterValues
	if len(values) > most {
		h.metrics.countLimit(limitFilterValues)
	}
	if len(values) == 0 || len(values) > most {
		return badRequest("%s has 1 to %d values; leave it out to get all", name, most)
	}
	for _, v := range values {
		if v == "" || len(v) > maxFilterValue {
			return badRequest("a value in %s has 1 to %d bytes", name, maxFilterValue)
		}
	}
	return nil
}

func validateEveryAccount(names []string, after map[string]int64, identity *Identity) *protocol.Refusal {
	switch {
	case len(names) != 1:
		return badRequest(`"*" stands alone in accounts`)
	case len(after) > 0:
		return badRequest(`"*" is live only: it has no after`)
	case !identity.AllAccounts:
		return protocol.Refuse(protocol.CodeForbidden, "the token does not cover every account")
	}
	return nil
}

func (h *Hub) validateAccounts(names []string, identity *Identity) *protocol.Refusal {
	most := h.cfg.MaxAccounts
	if len(names) > most {
		h.metrics.countLimit(limitAccounts)
	}
	if len(names) == 0 || len(names) > most {
		return badRequest("a subscription has 1 to %d accounts", most)
	}
	for _, account := range names {
		if !bus.ValidAccount(account) {
			return badRequest("an account is user:<id> or model:<id>")
		}
	}
	for _, account := range names {
		if !identity.maySee(account) {
			return protocol.Refuse(protocol.CodeForbidden, "the token does not cover "+account)
		}
	}
	return nil
}

func validateAfter(after map[string]int64, accounts []string) *protocol.Refusal {
	for account, seq := range after {
		inRange := seq >= 0 && seq <= protocol.MaxAmount
		if !inRange || !slices.Contains(accounts, account) {
			return badRequest("after gives a seq from 0 on for accounts of the subscription")
		}
	}
	return nil
}

// distinct returns the list without what comes again.
func distinct(list []string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
