package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Request says what a token to be made shall hold.
type Request struct {
	Subject  string
	Accounts []string // nil: the claim is left out, and sub stands in when it is an account
	Scopes   []string
	Issuer   string        // empty: left out
	Audience string        // empty: left out
	TTL      time.Duration // how long it is valid from now on
	TokenID  string        // Defaults to a new UUID.
}

// Sign makes an HS256 token, for `core token` and for local development.
func Sign(secret []byte, r Request) (string, error) {
	if len(secret) < minSecretBytes {
		return "", fmt.Errorf("the HS256 secret has %d bytes, at least %d are needed", len(secret), minSecretBytes)
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, r.claims(time.Now())).SignedString(secret)
}

func (r Request) claims(now time.Time) *wireClaims {
	w := &wireClaims{Scope: strings.Join(r.Scopes, " ")}
	w.Subject, w.Issuer, w.ID = r.Subject, r.Issuer, r.TokenID
	if w.ID == "" {
		w.ID = uuid.NewString()
	}
	w.IssuedAt, w.ExpiresAt = jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(r.TTL))
	if r.Audience != "" {
		w.Audience = jwt.ClaimStrings{r.Audience}
	}
	if r.Accounts != nil {
		w.Accounts = &r.Accounts
	}
	return w
}
