// Package retry has the pauses between attempts.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// NewBackoff returns growing pauses: about 20 ms first, then twice as long each time, up to most.
// Half of each pause is random.
func NewBackoff(most time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: 20 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: most,
	}
}

// Sleep waits for d or for the end of ctx.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
