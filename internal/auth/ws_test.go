package auth_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// A hub learns from a token what it may show to its bearer.
func TestAuthenticate(t *testing.T) {
	v := newVerifier(t, auth.Config{HS256Secret: secret})
	for name, tc := range map[string]struct {
		request auth.Request
		want    ws.Identity
	}{
		"own account": {auth.Request{Subject: "user:u1", TokenID: "t1"}, ws.Identity{Subject: "user:u1", Accounts: []string{"user:u1"}, TokenID: "t1"}},
		"all events":  {auth.Request{Subject: "feed", TokenID: "t2", Scopes: []string{auth.ScopeEvents}}, ws.Identity{Subject: "feed", TokenID: "t2", AllAccounts: true}},
		"other scope": {auth.Request{Subject: "shop", TokenID: "t3", Scopes: []string{auth.ScopeRead}}, ws.Identity{Subject: "shop", TokenID: "t3"}},
	} {
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
		tc.want.IssuedAt = claims.IssuedAt
		tc.want.ExpiresAt = claims.ExpiresAt
		if claims.IssuedAt.IsZero() || claims.ExpiresAt.IsZero() || !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", name, *got, tc.want)
		}
	}
}

// A refusal tells the client why, and when to come back if the keys are missing.
func TestAuthenticateRefuses(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	for name, tc := range map[string]struct {
		config auth.Config
		token  string
		want   ws.AuthError
	}{
		"no token": {auth.Config{HS256Secret: secret}, "", ws.AuthError{Reason: "the token is missing"}},
		"no keys": {
			auth.Config{JWKSURL: away.URL, Logger: slog.New(slog.DiscardHandler)}, sign(t, jwt.SigningMethodES256, makeKeys().ec, "k", nil),
			ws.AuthError{Reason: auth.ErrUnavailable.Error(), RetryAfter: auth.RetryAfterSeconds * time.Second},
		},
	} {
		_, err := newVerifier(t, tc.config).Authenticate(t.Context(), tc.token)
		var refused *ws.AuthError
		if !errors.As(err, &refused) || *refused != tc.want {
			t.Errorf("%s: got %#v, want %#v", name, err, tc.want)
		}
	}
}
