package ws

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A token that is void opens nothing any more, by either way in; others are not
// touched.
func TestRevokeToken(t *testing.T) {
	g := newGateway(t, Config{})
	raw := mint(t, Identity{Subject: "user:u1", TokenID: "t1"})
	c, waiting, other := g.dial(bearer(raw)), g.dial(nil), g.login("user:u1")
	c.expect("welcome")
	if n := g.hub.Revoke(Revocation{TokenID: "t1", Until: time.Now().Add(time.Hour)}); n != 1 {
		t.Errorf("closed %d", n)
	}
	if got := c.expectClose(protocol.CloseForbidden); got.Reason != "forbidden" {
		t.Errorf("reason %q", got.Reason)
	}
	if _, resp, err := g.tryDial(bearer(raw)); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a revoked token in the header: %v", err)
	}
	waiting.send(`{"op":"auth","token":"` + raw + `"}`)
	waiting.expectClose(protocol.CloseForbidden)
	other.send(`{"op":"auth","token":"` + mint(t, Identity{Subject: "app", TokenID: "t1", Accounts: []string{"user:u1"}}) + `"}`)
	other.expectClose(protocol.CloseForbidden) // a renewal with it
}

// Of an account, the tokens that were issued until then are void.
func TestRevokeAccount(t *testing.T) {
	g := newGateway(t, Config{})
	mine, family, other := g.login("user:u1"), g.login("user:u2", "user:u1"), g.login("user:u2")
	old := mint(t, Identity{Subject: "user:u1"})
	hour := time.Now().Add(time.Hour)
	if n := g.hub.Revoke(Revocation{Account: "user:u1", At: time.Now(), Until: hour}); n != 2 {
		t.Errorf("closed %d", n)
	}
	mine.expectClose(protocol.CloseForbidden)
	family.expectClose(protocol.CloseForbidden)
	if _, resp, err := g.tryDial(bearer(old)); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("an older token: %v", err)
	}
	other.send(`{"op":"ping"}`)
	other.expect("pong")

	// One that was issued afterwards is good: here, after an earlier moment.
	g.hub.Revoke(Revocation{Account: "user:u2", At: time.Now().Add(-2 * time.Second), Until: hour})
	g.login("user:u2")
	other.send(`{"op":"ping"}`)
	other.expect("pong")
}

// A connection that is open when its account is revoked ends, though the clock of the token's issuer is ahead. One that
// came, or was renewed, after a revocation that is only now heard of stays.
func TestRevokeAccountOfClockAhead(t *testing.T) {
	g := newGateway(t, Config{})
	hour := time.Now().Add(time.Hour)
	ahead := mint(t, Identity{Subject: "user:u1", IssuedAt: time.Now().Add(20 * time.Second), ExpiresAt: hour})
	header, frame := g.dial(bearer(ahead)), g.dial(nil)
	header.expect("welcome")
	frame.send(`{"op":"auth","token":"` + ahead + `"}`)
	frame.expect("welcome")
	events := g.open(t, "", bearer(ahead))
	events.expect("subscribed")
	if n := g.hub.Revoke(Revocation{Account: "user:u1", At: time.Now().Add(-2 * time.Second), Until: hour}); n != 0 {
		t.Errorf("a revocation of before closed %d", n)
	}
	if n := g.hub.Revoke(Revocation{Account: "user:u1", At: time.Now().Truncate(time.Second), Until: hour}); n != 3 { // as Redis has it
		t.Errorf("closed %d", n)
	}
	header.expectClose(protocol.CloseForbidden)
	frame.expectClose(protocol.CloseForbidden)
	events.expectEnd(protocol.CloseForbidden)
}

// What is no news is no reason to visit every client.
func TestRevokedAgain(t *testing.T) {
	h := NewHub(Config{}, newLedger(), newLedger())
	k := newSink(h, &Identity{TokenID: "t1", Accounts: []string{"user:u1"}})
	if err := h.clients.add(k.session); err != nil { // and it does not leave
		t.Fatal(err)
	}
	now := time.Now()
	for _, v := range []Revocation{{TokenID: "t1", Until: now.Add(time.Hour)}, {Account: "user:u1", At: now, Until: now.Add(time.Hour)}} {
		if n := h.Revoke(v); n != 1 {
			t.Errorf("%+v: closed %d", v, n)
		}
		// The same, and as Redis has it, in whole seconds.
		whole := v
		whole.At, whole.Until = v.At.Truncate(time.Second), v.Until.Truncate(time.Second)
		if n := h.Revoke(v, whole) + h.Revoke(); n != 0 {
			t.Errorf("%+v: closed %d again", v, n)
		}
	}
	if n := h.Revoke(Revocation{Account: "user:u1", At: now.Add(time.Minute), Until: now.Add(time.Hour)}); n != 1 {
		t.Errorf("one that reaches further closed %d", n)
	}
}

func TestRevocationsEnd(t *testing.T) {
	r := newRevocations()
	now := time.Now()
	for i := range 5000 {
		r.add(Revocation{TokenID: fmt.Sprint(i), Until: now.Add(-time.Second)})
	}
	if n := len(r.tokens); n > 1024 {
		t.Errorf("%d that have ended are still there", n)
	}
	if r.cover(&Identity{TokenID: "4999"}, now) {
		t.Error("one that has ended holds")
	}
	// Two of an account are together as strict as each.
	r.add(Revocation{Account: "user:u1", At: now, Until: now.Add(time.Minute)})
	r.add(Revocation{Account: "user:u1", At: now.Add(-time.Hour), Until: now.Add(time.Hour)})
	if v := r.accounts["user:u1"]; !v.At.Equal(now) || !v.Until.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v", v)
	}
	if !r.cover(&Identity{Accounts: []string{"user:u1"}}, now) {
		t.Error("a token that does not say when it was issued is good")
	}
	later := &Identity{Accounts: []string{"user:u1"}, IssuedAt: now.Add(time.Second)}
	if r.cover(later, now.Add(time.Second)) {
		t.Error("a later token is void")
	}
	if !r.cover(later, now) {
		t.Error("a token that was here before is good, since its issuer's clock is ahead")
	}
	if n := len(r.list()); n != 1 {
		t.Errorf("%d in force", n)
	}
}
