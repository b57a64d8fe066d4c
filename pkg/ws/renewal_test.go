package ws

import (
	"errors"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

func TestNoticeTime(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		remaining time.Duration // until the token expires
		before    time.Duration // from the notice until the token expires
	}{
		"an hour":  {time.Hour, 30 * time.Second},
		"a minute": {time.Minute, 30 * time.Second},
		"59 s":     {59 * time.Second, 29500 * time.Millisecond},
		"25 s":     {25 * time.Second, 12500 * time.Millisecond},
		"1 s":      {time.Second, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			expires := now.Add(tc.remaining)
			got := expires.Sub(noticeTime(now, expires, 30*time.Second))
			checkEqual(t, "time before the end", got, tc.before)
		})
	}
}

// Each token is followed by one token_expiring frame, when half of its time has passed. So a client
// that renews a short token on each of these frames does so once for each token.
func TestShortTokensAreRenewedOnce(t *testing.T) {
	t.Parallel() // most of the time is spent waiting
	const lifetime = 6 * time.Second
	g := newGateway(t, Config{})
	welcomed := time.Now()
	c := g.loginWith(Identity{Subject: "user:u1", ExpiresAt: welcomed.Add(lifetime)})
	expiresAt := c.welcome["expiresAt"]
	const renewals = 2
	for n := range renewals {
		f := c.expectFrame("token_expiring")
		checkField(t, f, "expiresAt", expiresAt)
		waited := time.Since(welcomed)
		if waited < lifetime/2 {
			t.Errorf("token %d: got token_expiring after %v, want at least %v", n, waited, lifetime/2)
		}

		welcomed = time.Now()
		c.sendAuth(mintToken(t, Identity{
			Subject:   "user:u1",
			ExpiresAt: welcomed.Add(lifetime),
		}))
		expiresAt = c.expectFrame("welcome")["expiresAt"]
	}

	c.expectFrame("token_expiring")
	f, err := c.readFrame()
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		t.Fatalf("got frame %v and error %v, want the connection to be closed", f, err)
	}
	checkEqual(t, "close code", closed.Code, websocket.StatusCode(protocol.CloseUnauthorized))
}
