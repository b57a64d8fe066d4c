package coreapi

import (
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/internal/auth"
)

// authenticate requires a valid token and sets the claims of the call.
func (c *call) authenticate() error {
	_, err := c.singleHeader("Authorization", "/authorization")
	if err != nil {
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

// requireScope requires that the token has the scope. A scope is valid for all accounts.
func (c *call) requireScope(scope string) error {
	if !c.claims.Has(scope) {
		return fmt.Errorf("%w: the token must have the scope %s", errForbidden, scope)
	}
	return nil
}

// requireReadable requires that the token may read at least one of the accounts. A token with
// wallet:read may read all accounts. Other tokens may read the accounts in their claims.
func (c *call) requireReadable(accounts ...string) error {
	for _, account := range accounts {
		if c.claims.MayRead(account) {
			return nil
		}
	}
	return fmt.Errorf("%w: the token must be for the account or have the scope %s",
		errForbidden, auth.ScopeRead)
}
