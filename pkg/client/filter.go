package client

import "slices"

// Filter selects the events of a subscription. The zero Filter selects all events of the token's
// accounts. Each list may have 32 values, and Accounts 64.
type Filter struct {
	// Accounts are full names, such as user:u1. The default is the accounts of the token. "*" stands
	// for every account: it needs a token with the scope events:all and gives no guarantee about
	// missed events, see EventsMissed.
	Accounts []string
	Types    []string // only events of these types, such as TypeEscrowHeld
	Reasons  []string // only events with one of these reasons
	Features []string // only events with one of these feature types
	// MinAmount selects events of at least this many points; 0 selects all.
	MinAmount int64
	// After continues each account after a position that the app has stored. Accounts that are not
	// in After begin with the next event.
	After map[string]Position
	// StartWithBalance makes the sequence begin with the balance of each account that is not in
	// After, as a Resync with the reason Started.
	StartWithBalance bool
	// OnRetry is called with errors after which the client tries again by itself, such as
	// ErrUnavailableBalance. The loop over Events calls it, between two items. The default is nil.
	OnRetry func(err error)
}

// hasHoles reports whether the seq of the selected events may skip numbers.
func (f *Filter) hasHoles() bool {
	return len(f.Types) > 0 || len(f.Reasons) > 0 || len(f.Features) > 0 || f.MinAmount > 0
}

// followsAll reports whether the filter selects every account.
func (f *Filter) followsAll() bool { return len(f.Accounts) == 1 && f.Accounts[0] == allAccounts }

// clone returns a copy that the app cannot change.
func (f Filter) clone() Filter {
	f.Accounts = slices.Clone(f.Accounts)
	f.Types = slices.Clone(f.Types)
	f.Reasons = slices.Clone(f.Reasons)
	f.Features = slices.Clone(f.Features)
	return f
}
