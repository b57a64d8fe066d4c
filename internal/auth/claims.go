package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/redroomrewards/realtime/internal/plainjson"
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

// readClaims reads a token's second part. What is written plainly, as issuers do, is
// read without reflection; anything else, and any doubt, goes to encoding/json. Either
// way names are exact, and a claim that we read comes once (RFC 7519 section 4): to
// encoding/json alone, Scope would be scope, and the last of two would count.
func readClaims(payload []byte) (*wireClaims, error) {
	w := new(wireClaims)
	if w.readPlain(payload) {
		return w, nil
	}
	w = new(wireClaims)
	err := w.read(payload)
	return w, err
}

// readPlain does what read would do, or is false.
func (w *wireClaims) readPlain(payload []byte) bool {
	s := plainjson.Scanner{Rest: payload}
	var seen uint // a bit for each claim
	once := func(claim uint) {
		if seen&(1<<claim) != 0 {
			s.Fail()
		}
		seen |= 1 << claim
	}
	s.Open('{')
	for n := 0; s.More(n, '}'); n++ {
		switch string(s.Name()) {
		case "iss":
			once(0)
			w.Issuer = string(s.Text())
		case "sub":
			once(1)
			w.Subject = string(s.Text())
		case "jti":
			once(2)
			w.ID = string(s.Text())
		case "scope":
			once(3)
			w.Scope = string(s.Text())
		case "exp":
			once(4)
			w.ExpiresAt = numericDate(&s)
		case "nbf":
			once(5)
			w.NotBefore = numericDate(&s)
		case "iat":
			once(6)
			w.IssuedAt = numericDate(&s)
		case "accounts":
			once(7)
			accounts := s.Texts()
			w.Accounts = &accounts
		case "aud":
			once(8)
			if s.At('"') {
				w.Audience = jwt.ClaimStrings{string(s.Text())}
			} else if w.Audience = s.Texts(); len(w.Audience) == 0 {
				w.Audience = nil
			}
		default:
			s.Skip()
		}
	}
	return s.End()
}

// errTwice refuses a token that says something twice, perhaps not the same.
var errTwice = errors.New("a claim comes twice")

// read reads any JSON.
func (w *wireClaims) read(payload []byte) error {
	if !json.Valid(payload) {
		return errMalformed
	}
	into := map[string]any{
		"iss": &w.Issuer, "sub": &w.Subject, "jti": &w.ID, "scope": &w.Scope, "accounts": &w.Accounts, "aud": &w.Audience,
		"exp": &w.ExpiresAt, "nbf": &w.NotBefore, "iat": &w.IssuedAt,
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if opening, err := dec.Token(); err != nil || opening != json.Delim('{') {
		return errMalformed
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		value, known := into[name]
		switch {
		case !known:
			value = new(json.RawMessage)
		case value == nil:
			return errTwice
		default:
			into[name] = nil
		}
		if err := dec.Decode(value); err != nil {
			return err
		}
	}
	return nil
}

func numericDate(s *plainjson.Scanner) *jwt.NumericDate {
	return &jwt.NumericDate{Time: time.Unix(s.Whole(), 0)}
}

// The years from 1 to 9999, which RFC 3339 can write, in seconds since 1970.
const firstSecond, lastSecond = -62135596800, 253402300799

// plausible tells whether the times are ones that can be written, and that were not
// cut off when they were read.
func (w *wireClaims) plausible() bool {
	for _, d := range []*jwt.NumericDate{w.ExpiresAt, w.NotBefore, w.IssuedAt} {
		if d != nil && (d.Unix() < firstSecond || d.Unix() > lastSecond) {
			return false
		}
	}
	return true
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
