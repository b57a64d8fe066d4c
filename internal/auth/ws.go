package auth

import (
	"context"
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws"
)

// A Verifier authenticates the clients of a ws.Hub.
var _ ws.Authenticator = (*Verifier)(nil)

// Authenticate implements ws.Authenticator. Like Verify, it may wait for a fetch of the JWKS.
func (v *Verifier) Authenticate(ctx context.Context, token string) (*ws.Identity, error) {
	claims, err := v.Verify(ctx, token)
	if err != nil {
		refused := &ws.AuthError{Reason: Reason(err)}
		if errors.Is(err, ErrUnavailable) {
			refused.RetryAfter = RetryAfterSeconds * time.Second
		}
		return nil, refused
	}
	return claims.Identity(), nil
}

// Identity returns the part of the claims that a ws.Hub needs.
func (c *Claims) Identity() *ws.Identity {
	return &ws.Identity{
		Subject:     c.Subject,
		Accounts:    c.Accounts,
		AllAccounts: c.Has(ScopeEvents),
		TokenID:     c.TokenID,
		IssuedAt:    c.IssuedAt,
		ExpiresAt:   c.ExpiresAt,
	}
}
