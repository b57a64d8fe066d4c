package auth_test

import (
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// Authenticate returns the identity that a hub needs.
func TestAuthenticate(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for name, tc := range map[string]struct {
		request auth.Request
		want    ws.Identity
	}{
		"own account": {
			auth.Request{Subject: "user:u1", TokenID: "t1"},
			ws.Identity{Subject: "user:u1", TokenID: "t1", Accounts: []string{"user:u1"}},
		},
		"all events": {
			auth.Request{Subject: "feed", TokenID: "t2", Scopes: []string{auth.ScopeEvents}},
			ws.Identity{Subject: "feed", TokenID: "t2", AllAccounts: true},
		},
		"other scope": {
			auth.Request{Subject: "shop", TokenID: "t3", Scopes: []string{auth.ScopeRead}},
			ws.Identity{Subject: "shop", TokenID: "t3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.request.TTL = time.Hour
			raw, err := auth.Sign(secret, tc.request)
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Authenticate(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			claims, err := v.Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if claims.IssuedAt.IsZero() {
				t.Error("iat: got none")
			}
			if claims.ExpiresAt.IsZero() {
				t.Error("exp: got none")
			}
			tc.want.IssuedAt = claims.IssuedAt
			tc.want.ExpiresAt = claims.ExpiresAt
			if !reflect.DeepEqual(*got, tc.want) {
				t.Errorf("identity: got %+v, want %+v", *got, tc.want)
			}
		})
	}
}

// A refusal has a reason for the client, and a delay if the keys are unavailable.
func TestAuthenticateRefuses(t *testing.T) {
	server := newJWKSServer(t)
	server.setUnavailable(true)
	for name, tc := range map[string]struct {
		config auth.Config
		token  string
		want   ws.AuthError
	}{
		"no token": {
			auth.Config{HS256Secret: secret},
			"",
			ws.AuthError{Reason: "the token is missing"},
		},
		"no keys": {
			auth.Config{JWKSURL: server.URL, Logger: slog.New(slog.DiscardHandler)},
			signToken(t, jwt.SigningMethodES256, testKeys().ec, "k", nil),
			ws.AuthError{Reason: auth.ErrUnavailable.Error(), RetryAfter: auth.RetryAfterSeconds * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVerifier(t, tc.config).Authenticate(t.Context(), tc.token)
			var refused *ws.AuthError
			if !errors.As(err, &refused) || *refused != tc.want {
				t.Errorf("error: got %#v, want %#v", err, tc.want)
			}
		})
	}
}
