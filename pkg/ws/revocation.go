package ws

import (
	"maps"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Revocation makes tokens void before their end: the one with that id, or all that name the
// account and were not issued after At. A token that let a client in by then was issued by then,
// whatever its iat says, which is of another clock. Exactly one of TokenID and Account is set.
type Revocation struct {
	TokenID string
	Account string
	At      time.Time // of an account; a token without iat counts as older
	Until   time.Time // when it may be forgotten, since the tokens have expired
}

// Revoke closes, with 4403, the connections of tokens that are void from now on, and returns how
// many. Such tokens are refused until the revocation's end. The caller bounds how many revocations
// there are. Each call with a new one visits every client: give it many at once.
func (h *Hub) Revoke(list ...Revocation) int {
	sessions := h.clients.revoke(list)
	for _, s := range sessions {
		s.transport.closeWith(protocol.CloseForbidden, "revoked")
	}
	return len(sessions)
}

// Revoked reports whether a token is void.
func (h *Hub) Revoked(identity *Identity) bool {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()
	return h.clients.revoked.cover(identity, time.Now())
}

// Revocations lists those that are in force.
func (h *Hub) Revocations() []Revocation {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()
	return h.clients.revoked.list()
}

// revocations are the ones in force. The registry's mutex protects them.
type revocations struct {
	tokens   map[string]Revocation
	accounts map[string]Revocation
	sweepAt  int // size at which those that have ended are looked for
}

// minSweep is the least size at which revocations that have ended are looked for.
const minSweep = 1024

func newRevocations() revocations {
	return revocations{
		tokens:   map[string]Revocation{},
		accounts: map[string]Revocation{},
		sweepAt:  minSweep,
	}
}

// add is false when every token that is void now was void before.
func (r *revocations) add(v Revocation) bool {
	if len(r.tokens)+len(r.accounts) >= r.sweepAt {
		r.removeEnded()
	}
	if v.TokenID != "" {
		longer := v.Until.After(r.tokens[v.TokenID].Until)
		if longer {
			r.tokens[v.TokenID] = v
		}
		return longer
	}
	old, ok := r.accounts[v.Account]
	if ok { // together they are at least as strict as each
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

// cover reports whether a token is void. It was issued by the time it was seen.
func (r *revocations) cover(identity *Identity, seen time.Time) bool {
	now := time.Now()
	if v, ok := r.tokens[identity.TokenID]; ok && v.Until.After(now) {
		return true
	}
	if len(r.accounts) == 0 {
		return false
	}
	issued := identity.IssuedAt
	if seen.Before(issued) {
		issued = seen
	}
	for _, account := range identity.Accounts {
		v, ok := r.accounts[account]
		inForce := ok && v.Until.After(now)
		if inForce && !issued.After(v.At) {
			return true
		}
	}
	return false
}

func (r *revocations) list() []Revocation {
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
