// Package revocation has the list of revoked tokens.
package revocation

import (
	"maps"
	"time"
)

// A Revocation has the fields of ws.Revocation, which describes them.
type Revocation struct {
	TokenID string
	Account string
	At      time.Time
	Until   time.Time
}

// A Token has the fields of a token on which a revocation depends.
type Token struct {
	ID       string
	Accounts []string
	IssuedAt time.Time
}

// A List has the revocations of a gateway. It is not safe for concurrent use.
type List struct {
	tokens   map[string]Revocation
	accounts map[string]Revocation
	sweepAt  int // number of revocations at which ended ones are removed
}

// minSweep is the minimum of List.sweepAt.
const minSweep = 1024

// NewList returns an empty list.
func NewList() List {
	return List{
		tokens:   map[string]Revocation{},
		accounts: map[string]Revocation{},
		sweepAt:  minSweep,
	}
}

// AddRevocation adds a revocation. It returns false if the revocation changes nothing.
func (l *List) AddRevocation(v Revocation) bool {
	if len(l.tokens)+len(l.accounts) >= l.sweepAt {
		l.removeEnded()
	}

	if v.TokenID != "" {
		isLonger := v.Until.After(l.tokens[v.TokenID].Until)
		if isLonger {
			l.tokens[v.TokenID] = v
		}

		return isLonger
	}

	old, exists := l.accounts[v.Account]
	if exists { // the combination is at least as strict as each of the two
		if old.At.After(v.At) {
			v.At = old.At
		}
		if old.Until.After(v.Until) {
			v.Until = old.Until
		}
	}

	l.accounts[v.Account] = v
	return v != old
}

func (l *List) removeEnded() {
	now := time.Now()
	hasEnded := func(_ string, v Revocation) bool { return !v.Until.After(now) }
	maps.DeleteFunc(l.tokens, hasEnded)
	maps.DeleteFunc(l.accounts, hasEnded)
	l.sweepAt = max(minSweep, 2*(len(l.tokens)+len(l.accounts)))
}

// IsRevoked reports whether a token is revoked. The token was used at the time usedAt, so it was
// issued by then.
func (l *List) IsRevoked(token Token, usedAt time.Time) bool {
	now := time.Now()
	v, exists := l.tokens[token.ID]
	if exists && v.Until.After(now) {
		return true
	}

	if len(l.accounts) == 0 {
		return false
	}

	issued := token.IssuedAt
	if usedAt.Before(issued) {
		issued = usedAt
	}

	for _, account := range token.Accounts {
		v, exists := l.accounts[account]
		isActive := exists && v.Until.After(now)
		if isActive && !issued.After(v.At) {
			return true
		}
	}

	return false
}

// ListActive lists the revocations that have not ended.
func (l *List) ListActive() []Revocation {
	now := time.Now()
	list := make([]Revocation, 0, len(l.tokens)+len(l.accounts))
	for _, m := range []map[string]Revocation{l.tokens, l.accounts} {
		for _, v := range m {
			if v.Until.After(now) {
				list = append(list, v)
			}
		}
	}

	return list
}
