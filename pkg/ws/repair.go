package ws

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// startRepair has a goroutine bring the feed up to date again. At most one works for a
// session.
func (s *session) startRepair(f *feed) {
	s.mu.Lock()
	s.gaps = append(s.gaps, f)
	idle := !s.repairing
	s.repairing = true
	s.mu.Unlock()
	if idle && !s.hub.tasks.start(func() { s.repairGaps(s.hub.base) }) {
		s.mu.Lock()
		s.repairing = false
		s.mu.Unlock()
	}
}

func (s *session) repairGaps(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.gaps) == 0 {
			s.gaps, s.repairing = nil, false
			s.mu.Unlock()
			return
		}
		f := s.gaps[0]
		s.gaps = s.gaps[1:]
		s.mu.Unlock()
		s.repairGap(ctx, f)
	}
}

// repairGap catches a feed up that met a gap until it is live again. While neither
// history nor state can be had it tries again, and in the end gives the connection
// up: a client must not believe that it is up to date when it is not.
func (s *session) repairGap(ctx context.Context, f *feed) {
	const first, longest = 50 * time.Millisecond, 2 * time.Second
	until := time.Now().Add(s.hub.cfg.RetryFor)
	for wait := first; ; wait = min(2*wait, longest) {
		err := s.catchUp(ctx, f, nil, s.transport.wake)
		if err == nil {
			s.hub.metrics.repaired.Inc()
			return
		}
		if time.Now().After(until) {
			s.hub.cfg.Logger.Error("gap cannot be repaired", "connection", s.id, "error", fmt.Errorf("catch up: %w", err))
			s.transport.closeWith(protocol.CloseInternal, "gap cannot be repaired")
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
