package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Request describes a token to be made.
type Request struct {
	Subject  string
	Accounts []string // nil: the claim is left out, and sub stands in when it is an account
	Scopes   []string
	Issuer   string        // empty: left out
	Audience string        // empty: left out
	TTL      time.Duration // how long the token is valid from now on
	TokenID  string        // Defaults to a new UUID.
}

// Sign returns a new HS256 token, for `core token` and for local development.
func Sign(secret []byte, r Request) (string, error) {
	err := validateSecret(secret)
	if err != nil {
		return "", err
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, r.tokenClaims(time.Now())).SignedString(secret)
}

func (r Request) tokenClaims(now time.Time) *tokenClaims {
	claims := &tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   r.Subject,
			Issuer:    r.Issuer,
			ID:        r.TokenID,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(r.TTL)),
		},
		Scope: strings.Join(r.Scopes, " "),
	}
	if claims.ID == "" {
		claims.ID = uuid.NewString()
	}
	if r.Audience != "" {
		claims.Audience = jwt.ClaimStrings{r.Audience}
	}
	if r.Accounts != nil {
		claims.Accounts = &r.Accounts
	}
	return claims
}

// ReadLifetime returns when a token was issued and when it expires. It does not verify the token.
// Each time is zero if the token does not have it.
func ReadLifetime(raw string) (issued, expiry time.Time, err error) {
	var claims jwt.RegisteredClaims
	_, _, err = jwt.NewParser().ParseUnverified(raw, &claims)
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("read the token: %w", err)
	}
	if claims.IssuedAt != nil {
		issued = claims.IssuedAt.Time
	}
	if claims.ExpiresAt != nil {
		expiry = claims.ExpiresAt.Time
	}
	return issued, expiry, nil
}
