package token

import (
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The scopes that tokens can carry.
const (
	ScopeCredit = "wallet:credit"
	ScopeDebit  = "wallet:debit"
	ScopeHold   = "wallet:hold"
	ScopeSettle = "wallet:settle" // the queue's authority
	ScopeRead   = "wallet:read"
	ScopeEvents = "events:all" // sees every account's events
	ScopeAdmin  = "admin"      // for the admin listeners
)

// Claims is what a checked token says about its bearer.
type Claims struct {
	Subject   string    // sub
	Accounts  []string  // the accounts that the bearer may see; from sub when the claim is absent and sub is one
	Scopes    []string  // words of scope
	TokenID   string    // jti; may be empty
	IssuedAt  time.Time // iat; zero when the token does not say
	ExpiresAt time.Time // exp
}

// Has tells whether the token carries the scope.
func (c *Claims) Has(scope string) bool { return slices.Contains(c.Scopes, scope) }

// Owns tells whether the account is one of the token's own.
func (c *Claims) Owns(account string) bool { return slices.Contains(c.Accounts, account) }

// MaySee tells whether the bearer may see the account's events: its own, or any
// with events:all.
func (c *Claims) MaySee(account string) bool { return c.Owns(account) || c.Has(ScopeEvents) }

// MayRead tells whether the bearer may read the account's balance and entries
// over the core's HTTP API: its own, or any with wallet:read.
func (c *Claims) MayRead(account string) bool { return c.Owns(account) || c.Has(ScopeRead) }

// wireClaims is the JSON of a token's second part.
type wireClaims struct {
	jwt.RegisteredClaims
	// Accounts is a pointer to tell an absent claim, for which sub stands in, from
	// an empty one, which means no account at all.
	Accounts *[]string `json:"accounts,omitempty"`
	Scope    string    `json:"scope,omitempty"`
}

func (w *wireClaims) claims() (*Claims, error) {
	c := &Claims{
		Subject: w.Subject,
		Scopes:  strings.Fields(w.Scope),
		TokenID: w.ID,
	}
	if w.IssuedAt != nil {
		c.IssuedAt = w.IssuedAt.Time
	}
	if w.ExpiresAt != nil {
		c.ExpiresAt = w.ExpiresAt.Time
	}
	switch {
	case w.Subject == "":
		return nil, invalid("the token has no sub")
	case w.Accounts != nil:
		for _, a := range *w.Accounts {
			if !bus.ValidAccount(a) {
				return nil, invalid("the token's accounts claim holds something that is no account")
			}
		}
		c.Accounts = *w.Accounts
	case bus.ValidAccount(w.Subject):
		c.Accounts = []string{w.Subject}
	}
	return c, nil
}
