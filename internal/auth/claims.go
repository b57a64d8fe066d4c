package auth

import (
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The scopes that a token can carry.
const (
	ScopeCredit = "wallet:credit"
	ScopeDebit  = "wallet:debit"
	ScopeHold   = "wallet:hold"
	ScopeSettle = "wallet:settle" // the queue's authority
	ScopeRead   = "wallet:read"
	ScopeEvents = "events:all" // sees every account's events
	ScopeAdmin  = "admin"      // for the admin listeners
)

// Claims are the claims of a verified token.
type Claims struct {
	Subject   string    // sub
	Accounts  []string  // the accounts that the bearer may see; from sub when the claim is absent and sub is one
	Scopes    []string  // the scopes in scope
	TokenID   string    // jti; may be empty
	IssuedAt  time.Time // iat; zero if the token has none
	ExpiresAt time.Time // exp
}

// Has reports whether the token carries the scope.
func (c *Claims) Has(scope string) bool {
	return slices.Contains(c.Scopes, scope)
}

// Owns reports whether the account is one of the token's own.
func (c *Claims) Owns(account string) bool {
	return slices.Contains(c.Accounts, account)
}

// MaySee reports whether the bearer may see the account's events: those of its own accounts, or
// any with events:all.
func (c *Claims) MaySee(account string) bool {
	return c.Owns(account) || c.Has(ScopeEvents)
}

// MayRead reports whether the bearer may read the account's balance and entries over the core's
// HTTP API: those of its own accounts, or any with wallet:read.
func (c *Claims) MayRead(account string) bool {
	return c.Owns(account) || c.Has(ScopeRead)
}

// tokenClaims is the JSON of a token's payload.
type tokenClaims struct {
	jwt.RegisteredClaims
	// Accounts is a pointer to tell an absent claim, which sub stands in for, from an empty list,
	// which means no account at all.
	Accounts *[]string `json:"accounts,omitempty"`
	Scope    string    `json:"scope,omitempty"`
}

// UnmarshalJSON reads the claims with exact member names and refuses a member that comes twice
// (RFC 7519 section 4). To encoding/json, Scope would be scope, and the last of two would count.
func (c *tokenClaims) UnmarshalJSON(data []byte) error {
	type plain tokenClaims // without this method
	return jsonv2.Unmarshal(data, (*plain)(c))
}

// The years from 1 to 9999, which RFC 3339 can write, in seconds since 1970.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
)

// Validate implements jwt.ClaimsValidator, which the library calls after its own checks. It
// refuses times that cannot be written, or that were cut off when they were read.
func (c *tokenClaims) Validate() error {
	for _, date := range []*jwt.NumericDate{c.ExpiresAt, c.NotBefore, c.IssuedAt} {
		if date == nil {
			continue
		}
		if date.Unix() < firstSecond || date.Unix() > lastSecond {
			return newRefusal("the token's exp, nbf and iat must be in the years 1 to 9999")
		}
	}
	return nil
}

// toClaims returns the token's claims in the form that the rest of the system uses.
func (c *tokenClaims) toClaims() (*Claims, error) {
	if c.Subject == "" {
		return nil, newRefusal("the token must have a sub")
	}

	accounts, err := c.visibleAccounts()
	if err != nil {
		return nil, err
	}

	claims := &Claims{
		Subject:   c.Subject,
		Accounts:  accounts,
		Scopes:    strings.Fields(c.Scope),
		TokenID:   c.ID,
		ExpiresAt: c.ExpiresAt.Time,
	}
	if c.IssuedAt != nil {
		claims.IssuedAt = c.IssuedAt.Time
	}
	return claims, nil
}

// visibleAccounts returns the accounts that the bearer may see.
func (c *tokenClaims) visibleAccounts() ([]string, error) {
	if c.Accounts == nil {
		if bus.ValidAccount(c.Subject) {
			return []string{c.Subject}, nil
		}
		return nil, nil
	}

	for _, account := range *c.Accounts {
		if !bus.ValidAccount(account) {
			return nil, newRefusal("the token's accounts must be accounts, such as user:u1")
		}
	}
	return *c.Accounts, nil
}
