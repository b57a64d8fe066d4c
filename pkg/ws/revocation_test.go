package ws

import (
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// revokeToken revokes the token for an hour. It returns the number of closed connections.
func (g *gateway) revokeToken(id string) int {
	return g.hub.Revoke(Revocation{
		TokenID: id,
		Until:   time.Now().Add(time.Hour),
	})
}

// revokeAccount revokes the account's tokens that were issued at or before a time. It returns the
// number of closed connections.
func (g *gateway) revokeAccount(account string, at time.Time) int {
	return g.hub.Revoke(Revocation{
		Account: account,
		At:      at,
		Until:   time.Now().Add(time.Hour),
	})
}

func TestRevokedTokenClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.loginWith(Identity{Subject: "user:u1", TokenID: "t1"})
	other := g.login("user:u1")
	checkEqual(t, "connections closed", g.revokeToken("t1"), 1)
	checkEqual(t, "close text", c.expectClose(protocol.CloseForbidden), "forbidden")
	other.expectPong()
}

func TestRevokedTokenIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	g.revokeToken("t1")
	revoked := Identity{Subject: "app", TokenID: "t1", Accounts: []string{"user:u1"}}
	token := mintToken(t, revoked)

	t.Run("in the header", func(t *testing.T) {
		g.expectRefused(bearerHeader(token), http.StatusForbidden)
	})
	t.Run("in a frame", func(t *testing.T) {
		c := g.dial(nil)
		c.sendAuth(token)
		c.expectClose(protocol.CloseForbidden)
	})
	t.Run("in a renewal", func(t *testing.T) {
		c := g.login("user:u1")
		c.sendAuth(token)
		c.expectClose(protocol.CloseForbidden)
	})
}

// A revocation of an account applies to the tokens that were issued before it.
func TestRevokedAccountClosesConnections(t *testing.T) {
	g := newGateway(t, Config{})
	one := g.login("user:u1")
	two := g.login("user:u2", "user:u1")
	other := g.login("user:u2")
	old := mintToken(t, Identity{Subject: "user:u1"})
	checkEqual(t, "connections closed", g.revokeAccount("user:u1", time.Now()), 2)
	one.expectClose(protocol.CloseForbidden)
	two.expectClose(protocol.CloseForbidden)
	g.expectRefused(bearerHeader(old), http.StatusForbidden)
	other.expectPong()
}

func TestTokenIssuedAfterRevocationIsAccepted(t *testing.T) {
	g := newGateway(t, Config{})
	open := g.login("user:u2")
	checkEqual(t, "connections closed", g.revokeAccount("user:u2", time.Now().Add(-2*time.Second)), 0)
	g.login("user:u2")
	open.expectPong()
}

// The iat of a token is from the issuer's clock, which may be ahead. A revocation still closes the
// connections that were open at its time. It does not close later connections.
func TestRevokedAccountWithIssuerClockAhead(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{
		Subject:  "user:u1",
		IssuedAt: time.Now().Add(20 * time.Second),
	})
	header := g.dial(bearerHeader(token))
	header.expectFrame("welcome")
	frame := g.dial(nil)
	frame.sendAuth(token)
	frame.expectFrame("welcome")
	stream := g.openStream(t, "", bearerHeader(token))
	stream.expectFrame("subscribed")

	before := time.Now().Add(-2 * time.Second)
	checkEqual(t, "connections closed by an earlier one", g.revokeAccount("user:u1", before), 0)
	now := time.Now().Truncate(time.Second) // as in Redis
	checkEqual(t, "connections closed", g.revokeAccount("user:u1", now), 3)
	header.expectClose(protocol.CloseForbidden)
	frame.expectClose(protocol.CloseForbidden)
	stream.expectEnd(protocol.CloseForbidden)
}

// A revocation that changes nothing does not visit the clients.
func TestRepeatedRevocationChangesNothing(t *testing.T) {
	now := time.Now()
	hour := now.Add(time.Hour)
	for name, v := range map[string]Revocation{
		"token":   {TokenID: "t1", Until: hour},
		"account": {Account: "user:u1", At: now, Until: hour},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHubWithSession(t)
			checkEqual(t, "closed", h.Revoke(v), 1)
			checkEqual(t, "closed by the same", h.Revoke(v), 0)
			whole := v // as in Redis
			whole.At = v.At.Truncate(time.Second)
			whole.Until = v.Until.Truncate(time.Second)
			checkEqual(t, "closed by whole seconds", h.Revoke(v, whole), 0)
			checkEqual(t, "closed by none", h.Revoke(), 0)
		})
	}
	t.Run("later", func(t *testing.T) {
		h := newHubWithSession(t)
		h.Revoke(Revocation{Account: "user:u1", At: now, Until: hour})
		later := Revocation{Account: "user:u1", At: now.Add(time.Minute), Until: hour}
		checkEqual(t, "closed", h.Revoke(later), 1)
	})
}

// newHubWithSession returns a hub with a session that stays in the registry after it was closed.
func newHubWithSession(t *testing.T) *Hub {
	t.Helper()
	h := NewHub(Config{}, newLedger(), newLedger())
	k := newSink(h, &Identity{TokenID: "t1", Accounts: []string{"user:u1"}})
	err := h.clients.addSession(k.session)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
