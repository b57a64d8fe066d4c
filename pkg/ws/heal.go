package ws

import (
	"context"
	"fmt"
	"time"
)

// heal has a goroutine bring the feed up to date again. At most one works for a
// session.
func (s *session) heal(f *feed) {
	s.mu.Lock()
	s.gaps = append(s.gaps, f)
	idle := !s.healing
	s.healing = true
	s.mu.Unlock()
	if idle && !s.hub.tasks.start(func() { s.healAll(s.hub.base) }) {
		s.mu.Lock()
		s.healing = false
		s.mu.Unlock()
	}
}

func (s *session) healAll(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.gaps) == 0 {
			s.gaps, s.healing = nil, false
			s.mu.Unlock()
			return
		}
		f := s.gaps[0]
		s.gaps = s.gaps[1:]
		s.mu.Unlock()
		s.mend(ctx, f)
	}
}

// mend advances a feed that met a gap until it is live again. While neither
// history nor state can be had it tries again, and in the end gives the connection
// up: a client must not believe that it is up to date when it is not.
func (s *session) mend(ctx context.Context, f *feed) {
	const first, longest = 50 * time.Millisecond, 2 * time.Second
	until := time.Now().Add(s.hub.cfg.RetryFor)
	for wait := first; ; wait = min(2*wait, longest) {
		err := s.advance(ctx, f, nil, s.transport.wake)
		if err == nil {
			s.hub.metrics.healed.Inc()
			return
		}
		if time.Now().After(until) {
			s.hub.cfg.Logger.Error("gap cannot be healed", "connection", s.id, "error", fmt.Errorf("advance: %w", err))
			s.transport.shut(closeInternal, "gap cannot be healed")
			return
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-s.ended:
			pause.Stop()
			return
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}
