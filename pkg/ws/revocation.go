package ws

import (
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
		s.transport.CloseWith(protocol.CloseForbidden, "revoked")
	}

	return len(sessions)
}

// Revoked reports whether the token with the identity is revoked.
func (h *Hub) Revoked(identity *Identity) bool {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()

	return h.clients.revoked.IsRevoked(identity.revocableToken(), time.Now())
}

// Revocations lists the revocations that have not ended.
func (h *Hub) Revocations() []Revocation {
	h.clients.mu.Lock()
	defer h.clients.mu.Unlock()

	active := h.clients.revoked.ListActive()
	list := make([]Revocation, 0, len(active))
	for _, v := range active {
		list = append(list, Revocation(v))
	}

	return list
}
