package ws

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

const (
	allAccountsName = "*"
	maxSubName      = 64  // bytes
	maxFilterValue  = 128 // bytes
)

// A request is a valid subscribe frame.
type request struct {
	name     string
	accounts []string // nil: all accounts
	filter   filter
	after    map[string]int64
	snapshot bool
}

func badRequest(format string, args ...any) *protocol.Refusal {
	return protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf(format, args...))
}

func accountsMessage(limit int) string {
	return fmt.Sprintf("accounts must have 1 to %d entries", limit)
}

// validateSubscribe returns the request of a subscribe frame, or the reason why it is refused.
func (h *Hub) validateSubscribe(
	f *protocol.ClientFrame, identity *Identity,
) (*request, *protocol.Refusal) {
	if f.Sub == nil || !isValidSubName(*f.Sub) {
		return nil, badRequest("sub must be a name of 1 to %d bytes", maxSubName)
	}

	r := &request{
		name:     *f.Sub,
		after:    f.After,
		snapshot: f.Snapshot == nil || *f.Snapshot,
		filter: filter{
			types:    f.Types,
			reasons:  f.Reasons,
			features: f.Features,
		},
	}

	refused := h.validateFilter(&r.filter, f.MinAmount)
	if refused != nil {
		return nil, refused
	}

	names := f.Accounts
	if names == nil {
		names = identity.Accounts
		if len(names) == 0 {
			detail := "accounts is required because the token names no account"
			return nil, protocol.Refuse(protocol.CodeForbidden, detail)
		}
	}

	if slices.Contains(names, allAccountsName) {
		return r, validateAllAccounts(names, f.After, identity)
	}

	refused = h.validateAccounts(names, identity)
	if refused != nil {
		return nil, refused
	}

	r.accounts = removeDuplicates(names)
	return r, validateAfter(f.After, r.accounts)
}

func isValidSubName(name string) bool {
	return name != "" && len(name) <= maxSubName && utf8.ValidString(name)
}

// isAllAccounts reports whether accounts is ["*"].
func isAllAccounts(accounts []string) bool {
	return len(accounts) == 1 && accounts[0] == allAccountsName
}

// validateFilter validates the lists of the filter and minAmount, which may be nil. It sets the
// minimum amount of the filter.
func (h *Hub) validateFilter(f *filter, minAmount *int64) *protocol.Refusal {
	refused := h.validateList("types", f.types)
	if refused != nil {
		return refused
	}

	refused = h.validateList("reasons", f.reasons)
	if refused != nil {
		return refused
	}

	refused = h.validateList("features", f.features)
	if refused != nil {
		return refused
	}

	if minAmount == nil {
		return nil
	}

	if *minAmount < 1 || *minAmount > protocol.MaxAmount {
		return badRequest("minAmount must be an integer from 1 to %d", protocol.MaxAmount)
	}

	f.minAmount = *minAmount
	return nil
}

// validateList validates a list of the filter. The list is nil when the frame does not have it.
func (h *Hub) validateList(name string, values []string) *protocol.Refusal {
	if values == nil {
		return nil
	}

	limit := h.cfg.MaxFilterValues
	if len(values) > limit {
		h.metrics.CountLimit(metrics.LimitFilterValues)
	}

	if len(values) == 0 || len(values) > limit {
		return badRequest("%s must have 1 to %d values; omit it to match every value", name, limit)
	}

	for _, v := range values {
		if v == "" || len(v) > maxFilterValue {
			return badRequest("each value in %s must have 1 to %d bytes", name, maxFilterValue)
		}
	}

	return nil
}

// validateAllAccounts validates a subscription to ["*"].
func validateAllAccounts(
	names []string, after map[string]int64, identity *Identity,
) *protocol.Refusal {
	switch {
	case len(names) != 1:
		return badRequest(`"*" must be the only entry of accounts`)
	case len(after) > 0:
		return badRequest(`after must be absent when accounts is ["*"]`)
	case !identity.AllAccounts:
		return protocol.Refuse(protocol.CodeForbidden, "the token does not cover all accounts")
	}

	return nil
}

func (h *Hub) validateAccounts(names []string, identity *Identity) *protocol.Refusal {
	limit := h.cfg.MaxAccounts
	if len(names) > limit {
		h.metrics.CountLimit(metrics.LimitAccounts)
	}

	if len(names) == 0 || len(names) > limit {
		return badRequest("%s", accountsMessage(limit))
	}

	for _, account := range names {
		if !bus.ValidAccount(account) {
			return badRequest("each account must be user:<id> or model:<id>")
		}
	}

	for _, account := range names {
		if !identity.coversAccount(account) {
			return protocol.Refuse(protocol.CodeForbidden, "the token does not cover "+account)
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

// removeDuplicates returns the distinct values of the list in their order.
func removeDuplicates(list []string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}

	return out
}
