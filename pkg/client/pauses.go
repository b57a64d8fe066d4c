package client

import (
	"math/rand/v2"
	"time"
)

const (
	minReconnectPause = 500 * time.Millisecond
	maxReconnectPause = 20 * time.Second
)

// pauses are the pauses between attempts, with full jitter: each is between 0 and a limit that
// doubles from minReconnectPause to maxReconnectPause. No limit but the first is longer than the
// attempts have failed for. Otherwise a few short pauses would lead to a long one, and a client would
// be away for much longer than the gateway was. The zero value is ready for use.
type pauses struct {
	count        int // since the last reset
	failingSince time.Time
}

// next returns the pause after an attempt that has failed now.
func (p *pauses) next(now time.Time) time.Duration {
	return rand.N(p.nextLimit(now))
}

// nextLimit returns the limit of the next pause.
func (p *pauses) nextLimit(now time.Time) time.Duration {
	if p.count == 0 {
		p.failingSince = now
	}
	limit := min(minReconnectPause<<min(p.count, 10), maxReconnectPause, now.Sub(p.failingSince))
	p.count++
	return max(limit, minReconnectPause)
}

// reset forgets the failures.
func (p *pauses) reset() { p.count = 0 }
