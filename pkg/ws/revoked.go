package ws

import (
	"maps"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A Revocation makes tokens void before their end: the one with that id, or all
// that name the account and were not issued after At. One that let a client in by
// then was, whatever its iat, which is that of another clock. Exactly one of TokenID
// and Account is set.
type Revocation struct {
	TokenID string
	Account string
	At      time.Time // of an account; a token without iat counts as older
	Until   time.Time // when it may be forgotten, since the tokens have expired
}

// Revoke closes, with 4403, the connections of tokens that are void from now on,
// and tells how many. Such tokens are refused until the revocation's end. The
// caller bounds how many revocations there are. Each call with one that is new visits
// every client: give it many at once.
func (h *Hub) Revoke(list ...Revocation) int {
	sessions := h.clients.revoke(list)
	for _, s := range sessions {
		s.transport.closeWith(protocol.CloseForbidden, "revoked")
	}
	return len(sessions)
}

// Revoked tells whether a token is void.
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

// revocations are the ones in force. Their owner's mutex protects them.
type revocations struct {
	tokens, accounts map[string]Revocation
	sweepAt          int // that many are reason to look for those that have ended
}

func newRevocations() revocations {
	return revocations{tokens: map[string]Revocation{}, accounts: map[string]Revocation{}, sweepAt: 1024}
}

// add is false when nothing is void that was not before.
func (r *revocations) add(v Revocation) bool {
	if len(r.tokens)+len(r.accounts) >= r.sweepAt {
		ended := func(_ string, v Revocation) bool { return !v.Until.After(time.Now()) }
		maps.DeleteFunc(r.tokens, ended)
		maps.DeleteFunc(r.accounts, ended)
		r.sweepAt = max(1024, 2*(len(r.tokens)+len(r.accounts)))
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

// cover tells whether the token is void. It was seen at that time, so it was issued by
// then.
func (r *revocations) cover(c *Identity, seen time.Time) bool {
	now := time.Now()
	if v, ok := r.tokens[c.TokenID]; ok && v.Until.After(now) {
		return true
	}
	if len(r.accounts) == 0 {
		return false
	}
	issued := c.IssuedAt
	if seen.Before(issued) {
		issued = seen
	}
	for _, a := range c.Accounts {
		if v, ok := r.accounts[a]; ok && v.Until.After(now) && !issued.After(v.At) {
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

// revoke notes the revocations and lists the clients that they are about.
func (r *registry) revoke(list []Revocation) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := false
	for _, v := range list {
		news = r.revoked.add(v) || news
	}
	if !news {
		return nil // as whenever a gateway asks Redis whether it has missed one
	}
	var found []*session
	for _, s := range r.all {
		s.mu.Lock()
		identity, seen := s.identity, s.seen
		s.mu.Unlock()
		// In whole seconds, as iat and what Redis keeps of At.
		if identity != nil && r.revoked.cover(identity, seen.Truncate(time.Second)) {
			found = append(found, s)
		}
	}
	return found
}
