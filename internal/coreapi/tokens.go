package coreapi

import (
	"context"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

// remembering is a Verifier that does not check the same token for each of the
// many requests that a service sends: checking costs more than all the rest of
// a hold's handler. A good token is remembered until it expires, at most for
// rememberFor, so that a key that was withdrawn ends soon.
type remembering struct {
	verifier Verifier

	mu    sync.RWMutex // protects known
	known map[string]remembered
}

type remembered struct {
	claims *auth.Claims
	until  time.Time
}

const (
	rememberFor    = time.Minute
	rememberAtMost = 1024 // tokens of at most auth.MaxBytes each; when full, all are forgotten
)

func remember(v Verifier) *remembering {
	return &remembering{verifier: v, known: make(map[string]remembered)}
}

// Verify checks a token, or remembers that it did.
func (m *remembering) Verify(ctx context.Context, raw string) (*auth.Claims, error) {
	now := time.Now()
	m.mu.RLock()
	r, ok := m.known[raw]
	m.mu.RUnlock()
	if ok && now.Before(r.until) {
		return r.claims, nil
	}
	claims, err := m.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	until := now.Add(rememberFor)
	if claims.ExpiresAt.Before(until) {
		until = claims.ExpiresAt
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) >= rememberAtMost {
		clear(m.known)
	}
	m.known[raw] = remembered{claims, until}
	return claims, nil
}
