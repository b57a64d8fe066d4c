package ws

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// The delay between two attempts to repair a gap doubles from the minimum to the maximum.
const (
	minRepairDelay = 50 * time.Millisecond
	maxRepairDelay = 2 * time.Second
)

// repairFeeds starts the repair of feeds that met a gap. The feeds are catching up.
func (h *Hub) repairFeeds(gaps []*feed) {
	for _, f := range gaps {
		h.metrics.Gaps.Inc()
		f.sub.session.startRepair(f)
	}
}

// startRepair repairs the feed in a goroutine. A session has at most one such goroutine.
func (s *session) startRepair(f *feed) {
	s.mu.Lock()
	s.gaps = append(s.gaps, f)
	isRunning := s.repairing
	s.repairing = true
	s.mu.Unlock()
	if isRunning {
		return
	}

	started := s.hub.tasks.startTask(func() { s.repairGaps(s.hub.baseCtx) })
	if !started {
		s.mu.Lock()
		s.repairing = false
		s.mu.Unlock()
	}
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

// nextGap removes and returns the next feed with a gap. It returns nil when there is none, and the
// calling goroutine must then end.
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

// repairGap catches up a feed that met a gap. It retries while neither history nor state is
// available. After Config.RetryFor it closes the connection, so that the client does not assume
// that it is up to date.
func (s *session) repairGap(ctx context.Context, f *feed) {
	deadline := time.Now().Add(s.hub.cfg.RetryFor)
	delay := minRepairDelay
	for {
		err := s.catchUp(ctx, f, eventPage{}, s.transport.wakeWriter)
		if err == nil {
			s.hub.metrics.Repaired.Inc()
			return
		}
		if time.Now().After(deadline) {
			s.hub.cfg.Logger.Error("repairing a gap failed; closing the connection",
				"connection", s.id,
				"error", fmt.Errorf("catch up: %w", err),
			)
			s.transport.closeWith(protocol.CloseInternal, "repairing a gap failed")
			return
		}

		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-s.ended:
			timer.Stop()
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}

		delay = min(2*delay, maxRepairDelay)
	}
}
