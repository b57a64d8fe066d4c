package ws

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The pause between two attempts to repair a gap doubles from the first to the longest.
const (
	firstRepairPause   = 50 * time.Millisecond
	longestRepairPause = 2 * time.Second
)

// repairFeeds has feeds repaired that met a gap. They are catching up.
func (h *Hub) repairFeeds(gaps []*feed) {
	for _, f := range gaps {
		h.metrics.gaps.Inc()
		f.sub.session.startRepair(f)
	}
}

// startRepair has a goroutine bring the feed up to date again. At most one works for a session.
func (s *session) startRepair(f *feed) {
	s.mu.Lock()
	s.gaps = append(s.gaps, f)
	idle := !s.repairing
	s.repairing = true
	s.mu.Unlock()
	if !idle || s.hub.tasks.start(func() { s.repairGaps(s.hub.base) }) {
		return
	}
	s.mu.Lock()
	s.repairing = false
	s.mu.Unlock()
}

func (s *session) repairGaps(ctx context.Context) {
	for {
		f := s.nextGap()
		if f == nil {
			return
		}
		s.repairGap(ctx, f)
	}
}

// nextGap returns nil when there is none, and no goroutine works on gaps then.
func (s *session) nextGap() *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.gaps) == 0 {
		s.gaps = nil
		s.repairing = false
		return nil
	}
	f := s.gaps[0]
	s.gaps = s.gaps[1:]
	return f
}

// repairGap catches up a feed that met a gap. While neither history nor state can be had it tries
// again, and in the end it closes the connection: a client must not believe that it is up to date
// when it is not.
func (s *session) repairGap(ctx context.Context, f *feed) {
	deadline := time.Now().Add(s.hub.cfg.RetryFor)
	pause := firstRepairPause
	for {
		err := s.catchUp(ctx, f, nil, s.transport.wakeWriter)
		if err == nil {
			s.hub.metrics.repaired.Inc()
			return
		}
		if time.Now().After(deadline) {
			s.hub.cfg.Logger.Error("gap cannot be repaired", "connection", s.id, "error", fmt.Errorf("catch up: %w", err))
			s.transport.closeWith(protocol.CloseInternal, "gap cannot be repaired")
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ended:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, longestRepairPause)
	}
}
