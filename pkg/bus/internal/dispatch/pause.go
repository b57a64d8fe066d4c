package dispatch

import "time"

// A subscription that only fails is paused: calling it on and on would fill the dead
// letters and keep what it calls from recovering. Its events wait, and after a
// while one of them probes. Other subscriptions go on.

// failed counts a failed attempt, and pauses when there were too many in a row.
func (s *Subscriber) failed(probe bool) {
	n := int(s.failures.Add(1))
	limit := s.d.cfg.PauseAfter
	if limit < 0 || (!probe && (n < limit || s.paused.Load())) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone.Load(), s.paused.Load() != probe:
		return
	case probe:
		s.pauseFor = min(2*s.pauseFor, s.d.cfg.MaxPause)
	default:
		s.pauseFor = s.d.cfg.PauseFor
		s.metrics.Paused.Set(1)
		s.d.cfg.Logger.Warn("a subscription is paused: its handler fails all the time", "subscriber", s.ID, "failures", n)
	}
	s.paused.Store(true)
	s.resumes = time.AfterFunc(s.pauseFor, s.tryOne)
}

// tryOne lets one event through, which decides: the first of those that wait, or the next that comes.
func (s *Subscriber) tryOne() {
	s.probe.Store(true)
	for i := range s.lanes {
		s.lanes[i].wake()
	}
}

// worked counts an attempt that did not fail, and ends a pause.
func (s *Subscriber) worked() {
	if s.failures.Load() == 0 {
		return
	}
	s.failures.Store(0)
	if !s.paused.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.paused.CompareAndSwap(true, false) {
		return
	}
	s.resumes.Stop()
	s.probe.Store(false)
	s.metrics.Paused.Set(0)
	s.d.cfg.Logger.Info("a subscription works again", "subscriber", s.ID)
	for i := range s.lanes {
		s.lanes[i].wake()
	}
}
