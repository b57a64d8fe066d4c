package coreapi

import (
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/internal/auth"
)

// authenticate requires a valid token. It sets the call's claims.
func (c *call) authenticate() error {
	if _, err := c.singleHeader("Authorization", "/authorization"); err != nil {
		return err
	}
	raw := auth.FromHeader(c.r.Header)
	if raw == "" {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="core"`)
		return fmt.Errorf("%w: the request must have the header Authorization: Bearer <token>", errUnauthorized)
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

// requireScope requires that the token has the scope, which gives authority over all accounts.
func (c *call) requireScope(scope string) error {
	if !c.claims.Has(scope) {
		return fmt.Errorf("%w: the token must have the scope %s", errForbidden, scope)
	}
	return nil
}

// requireReadable requires that the token may read one of the accounts: that it has wallet:read, or
// that the account is one of its own.
func (c *call) requireReadable(accounts ...string) error {
	for _, account := range accounts {
		if c.claims.MayRead(account) {
			return nil
		}
	}
	return fmt.Errorf("%w: the token must be for the account or have the scope %s", errForbidden, auth.ScopeRead)
}
