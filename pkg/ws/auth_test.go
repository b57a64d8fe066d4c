package ws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// parseExpiresAt returns the time in a welcome frame.
func parseExpiresAt(t *testing.T, welcome map[string]any) time.Time {
	t.Helper()
	text, _ := welcome["expiresAt"].(string)
	expires, err := time.Parse(bus.TimeFormat, text)
	if err != nil {
		t.Fatalf("expiresAt: got %q, want a time: %v", text, err)
	}
	return expires
}

func TestAuthFrameIsWelcomed(t *testing.T) {
	g := newGateway(t, Config{Gateway: "g7", HeartbeatInterval: 40 * time.Second})
	c := g.dial(nil)
	checkEqual(t, "subprotocol", c.ws.Subprotocol(), Subprotocol)

	c.sendAuth(mintToken(t, Identity{Subject: "user:u1"}))
	f := c.expectFrame("welcome")
	checkField(t, f, "gateway", "g7")
	checkField(t, f, "heartbeatSeconds", 40.0)
	if f["connection"] == "" {
		t.Error("connection: got no id")
	}
	lifetime := time.Until(parseExpiresAt(t, f))
	if lifetime < 59*time.Minute {
		t.Errorf("lifetime: got %v, want an hour", lifetime)
	}
}

// Without accounts, a subscription is for the accounts of the token.
func TestSubscriptionDefaultsToTokenAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(nil)
	c.sendAuth(mintToken(t, Identity{Subject: "user:u1"}))
	c.expectFrame("welcome")
	checkField(t, c.subscribe(), "account", "user:u1")
}

func TestMissingAuthClosesConnection(t *testing.T) {
	g := newGateway(t, Config{AuthTimeout: 50 * time.Millisecond})
	c := g.dial(nil)
	checkEqual(t, "close text", c.expectClose(protocol.CloseAuthTimeout), "auth_timeout")
}

func TestFrameBeforeAuthClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.dial(nil)
	c.sendFrame(subscribeFrame)
	c.expectClose(protocol.CloseUnauthorized)
}

func TestRenewalExtendsConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1", "user:u2")
	expires := time.Now().Add(2 * time.Hour)
	c.sendAuth(mintToken(t, Identity{
		Subject:   "app",
		Accounts:  []string{"user:u2"},
		ExpiresAt: expires,
	}))
	second := c.expectFrame("welcome")
	checkField(t, second, "connection", c.welcome["connection"])
	if !parseExpiresAt(t, second).After(parseExpiresAt(t, c.welcome)) {
		t.Errorf("expiresAt: got %v after %v, want later", second, c.welcome)
	}
}

// A renewal ends the subscriptions that the new token does not cover. The others continue.
func TestRenewalEndsUncoveredSubscriptions(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1", "user:u2")
	c.subscribeWith(`{"op":"subscribe","sub":"u1","accounts":["user:u1"]}`)
	c.subscribeWith(`{"op":"subscribe","sub":"u2","accounts":["user:u2"]}`)
	c.sendAuth(mintTokenFor(t, "user:u2"))
	c.expectFrame("welcome")
	checkField(t, c.expectError(protocol.CodeForbidden), "sub", "u1")
	checkField(t, c.expectFrame("unsubscribed"), "sub", "u1")

	g.deliverEvents("user:u1", 1)
	g.deliverEvents("user:u2", 1)
	c.expectEvents("u2", "user:u2", 1, 1)
	checkEqual(t, "connections of user:u1", len(g.listConnections("user:u1")), 0)
}

func TestExpiredTokenClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.loginWith(Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(2 * time.Second)})
	f := c.expectFrame("token_expiring")
	checkField(t, f, "expiresAt", c.welcome["expiresAt"])
	c.expectClose(protocol.CloseUnauthorized)
}

// A token that is accepted shortly after its end is valid for expiredTokenLifetime. The frames and
// the admin API show that time and not the end of the token.
func TestTokenWithinLeewayIsExtended(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{
		Subject:   "user:u1",
		ExpiresAt: time.Now().Add(-10 * time.Second),
	})
	earliest := time.Now().Add(expiredTokenLifetime).Truncate(time.Millisecond)
	c := g.dial(bearerHeader(token))
	welcome := c.expectFrame("welcome")
	streamWelcome := g.openStream(t, "", bearerHeader(token)).welcome
	for name, f := range map[string]map[string]any{
		"WebSocket":    welcome,
		"event stream": streamWelcome,
	} {
		expires := parseExpiresAt(t, f)
		if expires.Before(earliest) {
			t.Errorf("%s: got expiresAt %v, want at least %v", name, expires, earliest)
		}
		latest := time.Now().Add(expiredTokenLifetime)
		if expires.After(latest) {
			t.Errorf("%s: got expiresAt %v, want at most %v", name, expires, latest)
		}
	}

	for _, info := range g.listConnections("user:u1") {
		if info.ExpiresAt.Before(earliest) {
			t.Errorf("connection: got ExpiresAt %v, want at least %v", info.ExpiresAt, earliest)
		}
	}
}

func TestRenewalPostponesExpiry(t *testing.T) {
	g := newGateway(t, Config{ExpiryNotice: time.Second})
	c := g.loginWith(Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(2 * time.Second)})
	c.expectFrame("token_expiring")
	c.sendAuth(mintToken(t, Identity{
		Subject:   "user:u1",
		ExpiresAt: time.Now().Add(3 * time.Second),
	}))
	c.expectFrame("welcome")
	c.expectFrame("token_expiring") // of the second token: the first token has expired by then
	c.expectClose(protocol.CloseUnauthorized)
}

// invalidTokens returns tokens that must be refused.
func invalidTokens(t *testing.T) map[string]string {
	t.Helper()
	expired := Identity{
		Subject:   "user:u1",
		ExpiresAt: time.Now().Add(-time.Minute),
	}
	return map[string]string{
		"empty":      "",
		"not base64": "rubbish",
		"expired":    mintToken(t, expired),
	}
}

func TestTwoAuthorizationHeadersAreRefused(t *testing.T) {
	g := newGateway(t, Config{})
	token := "Bearer " + mintTokenFor(t, "user:u1")
	resp := g.expectRefused(http.Header{"Authorization": {token, token}}, http.StatusBadRequest)
	var body HTTPError
	err := json.NewDecoder(resp.Body).Decode(&body)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "pointer", body.Pointer, "/authorization")
}

func TestInvalidTokenInHeaderIsRefused(t *testing.T) {
	g := newGateway(t, Config{})
	for name, token := range invalidTokens(t) {
		t.Run(name, func(t *testing.T) {
			resp := g.expectRefused(bearerHeader(token), http.StatusUnauthorized)
			if resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("WWW-Authenticate: got none")
			}
		})
	}
	t.Run("basic", func(t *testing.T) {
		g.expectRefused(http.Header{"Authorization": {"Basic dTpw"}}, http.StatusUnauthorized)
	})
}

func TestInvalidTokenInFrameClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	for name, token := range invalidTokens(t) {
		t.Run(name, func(t *testing.T) {
			c := g.dial(nil)
			c.sendAuth(token)
			checkEqual(t, "close text", c.expectClose(protocol.CloseUnauthorized), "unauthorized")
		})
	}
}

func TestInvalidRenewalClosesConnection(t *testing.T) {
	g := newGateway(t, Config{})
	c := g.login("user:u1")
	c.sendAuth("rubbish")
	c.expectClose(protocol.CloseUnauthorized)
}

// A failingAuth is an Authenticator that accepts no token.
type failingAuth struct{ err error }

func (f failingAuth) Authenticate(context.Context, string) (*Identity, error) {
	return nil, f.err
}

// An AuthError tells the client why its token is refused and when to try again. The text of any
// other error is not sent to the client.
func TestAuthError(t *testing.T) {
	noKeys := &AuthError{Reason: "no keys yet", RetryAfter: time.Millisecond}
	for name, tc := range map[string]struct {
		err        error
		status     int
		detail     string
		retryAfter string
		code       protocol.CloseCode
	}{
		"refused": {
			err:    &AuthError{Reason: "the token is for another service"},
			status: http.StatusUnauthorized,
			detail: "the token is for another service",
			code:   protocol.CloseUnauthorized,
		},
		"unavailable": {
			err:        &AuthError{Reason: "no keys yet", RetryAfter: 7 * time.Second},
			status:     http.StatusServiceUnavailable,
			detail:     "no keys yet",
			retryAfter: "7",
			code:       protocol.CloseInternal,
		},
		"wrapped": {
			err:        fmt.Errorf("keys: %w", noKeys),
			status:     http.StatusServiceUnavailable,
			detail:     "no keys yet",
			retryAfter: "1",
			code:       protocol.CloseInternal,
		},
		"other error": {
			err:    errors.New("user=admin password=hunter2"),
			status: http.StatusUnauthorized,
			detail: "the token is not accepted",
			code:   protocol.CloseUnauthorized,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWithAuth(t, Config{}, failingAuth{tc.err})
			resp := g.expectRefused(bearerHeader("x"), tc.status)
			var body HTTPError
			err := json.NewDecoder(resp.Body).Decode(&body)
			if err != nil {
				t.Fatal(err)
			}
			checkEqual(t, "status in the body", body.Status, tc.status)
			checkEqual(t, "detail", body.Detail, tc.detail)
			checkEqual(t, "Retry-After", resp.Header.Get("Retry-After"), tc.retryAfter)

			c := g.dial(nil)
			c.sendAuth("x")
			c.expectClose(tc.code)
		})
	}
}
