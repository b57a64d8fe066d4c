package ws

import (
	"maps"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Revocation makes tokens invalid before they expire: the token with the id, or all tokens that
// name the account and were issued at or before At. A token that a client used at or before At
// counts as issued by then, even if its iat is later, because iat is from another clock. Exactly
// one of TokenID and Account is set.
type Revocation struct {
	TokenID string
	Account string
	At      time.Time // only for Account; a token without iat counts as older
	Until   time.Time // when the revocation can be removed because the tokens have expired
}

// Revoke adds revocations and closes the connections of the revoked tokens with 4403. It returns
// the number of connections. The tokens are refused until the end of the revocation. The caller
// limits the number of revocations. Each call with a new revocation visits every client, so one
// call with many revocations is cheaper than many calls.
func (h *Hub) Revoke(list ...Revocation) int {
	sessions := h.clients.addRevocations(list)
	for _, s := range sessions {
		s.transport.closeWith(protocol.CloseForbidden, "revoked")
	}

	return len(sessions)
}

// Revoked reports whether the token with the identity is revoked.
func (h *Hub) Revoked(identity *Identity) bool {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()

	return h.clients.revoked.isRevoked(identity, time.Now())
}

// Revocations lists the revocations that have not ended.
func (h *Hub) Revocations() []Revocation {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()

	return h.clients.revoked.listActive()
}

// revocations are the revocations of a gateway. The registry's mutex protects them.
type revocations struct {
	tokens   map[string]Revocation
	accounts map[string]Revocation
	sweepAt  int // number of revocations at which ended ones are removed
}

// minSweep is the minimum of revocations.sweepAt.
const minSweep = 1024

func newRevocations() revocations {
	return revocations{
		tokens:   map[string]Revocation{},
		accounts: map[string]Revocation{},
		sweepAt:  minSweep,
	}
}

// addRevocation adds a revocation. It returns false if the revocation changes nothing.
func (r *revocations) addRevocation(v Revocation) bool {
	if len(r.tokens)+len(r.accounts) >= r.sweepAt {
		r.removeEnded()
	}

	if v.TokenID != "" {
		isLonger := v.Until.After(r.tokens[v.TokenID].Until)
		if isLonger {
			r.tokens[v.TokenID] = v
		}

		return isLonger
	}

	old, exists := r.accounts[v.Account]
	if exists { // the combination is at least as strict as each of the two
		if old.At.After(v.At) {
			v.At = old.At
		}
		if old.Until.After(v.Until) {
			v.Until = old.Until
		}
	}

	r.accounts[v.Account] = v
	return v != old
}

func (r *revocations) removeEnded() {
	now := time.Now()
	hasEnded := func(_ string, v Revocation) bool { return !v.Until.After(now) }
	maps.DeleteFunc(r.tokens, hasEnded)
	maps.DeleteFunc(r.accounts, hasEnded)
	r.sweepAt = max(minSweep, 2*(len(r.tokens)+len(r.accounts)))
}

// isRevoked reports whether a token is revoked. The token was used at the time usedAt, so it was
// issued by then.
func (r *revocations) isRevoked(identity *Identity, usedAt time.Time) bool {
	now := time.Now()
	v, exists := r.tokens[identity.TokenID]
	if exists && v.Until.After(now) {
		return true
	}

	if len(r.accounts) == 0 {
		return false
	}

	issued := identity.IssuedAt
	if usedAt.Before(issued) {
		issued = usedAt
	}

	for _, account := range identity.Accounts {
		v, exists := r.accounts[account]
		isActive := exists && v.Until.After(now)
		if isActive && !issued.After(v.At) {
			return true
		}
	}

	return false
}

func (r *revocations) listActive() []Revocation {
	now := time.Now()
	list := make([]Revocation, 0, len(r.tokens)+len(r.accounts))
	for _, m := range []map[string]Revocation{r.tokens, r.accounts} {
		for _, v := range m {
			if v.Until.After(now) {
				list = append(list, v)
			}
		}
	}

	return list
}
