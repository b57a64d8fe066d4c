package coreapi

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
)

const maxRequestID = 255

// authenticate sets the request's id and, from the token, who asks.
func (c *call) authenticate() error {
	c.identify()
	if _, err := c.once("Authorization", "/authorization"); err != nil {
		return err
	}
	raw := auth.FromHeader(c.r.Header)
	if raw == "" {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="core"`)
		return fmt.Errorf("%w: send Authorization: Bearer <token>", errUnauthorized)
	}
	claims, err := c.api.verifier.Verify(c.ctx, raw)
	if errors.Is(err, auth.ErrUnavailable) {
		return err
	}
	if err != nil {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="core", error="invalid_token"`)
		return fmt.Errorf("%w: %s", errUnauthorized, auth.Reason(err))
	}
	c.claims = claims
	return nil
}

// identify takes the client's request id or makes one, and echoes it. One of bad
// form is refused later, by the rules of the ledger, and not echoed.
func (c *call) identify() {
	if given := c.r.Header["X-Request-Id"]; len(given) > 0 && given[0] != "" {
		c.requestID = given[0]
		if !printable(c.requestID) {
			return
		}
	} else {
		c.requestID = uuid.NewString()
	}
	c.w.Header()["X-Request-Id"] = []string{c.requestID}
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return len(s) <= maxRequestID
}

// require wants a scope, which gives authority over all accounts.
func (c *call) require(scope string) error {
	if !c.claims.Has(scope) {
		return fmt.Errorf("%w: the token lacks the scope %s", errForbidden, scope)
	}
	return nil
}

// mayRead wants wallet:read or one of the accounts to be the token's own.
func (c *call) mayRead(accounts ...string) error {
	for _, a := range accounts {
		if c.claims.MayRead(a) {
			return nil
		}
	}
	return fmt.Errorf("%w: the token is for other accounts and lacks the scope %s", errForbidden, auth.ScopeRead)
}
