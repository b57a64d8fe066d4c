package dispatch

import "time"

// A subscription whose handler always fails is paused. Without a pause its events would all become
// dead letters, and the calls would hinder the recovery of the service that the handler needs.
// During a pause the events wait. After a while one event probes whether the handler works again.
// Other subscriptions are not affected.

// recordFailure counts a failed attempt. It pauses the subscription after too many failures in a
// row.
func (s *Subscriber) recordFailure(probe bool) {
	failures := int(s.failures.Add(1))
	limit := s.d.cfg.PauseAfter
	if limit < 0 {
		return
	}

	if !probe && (failures < limit || s.paused.Load()) {
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	if s.ended.Load() || s.paused.Load() != probe {
		return
	}

	if probe {
		s.pauseDuration = min(2*s.pauseDuration, s.d.cfg.MaxPause)
	} else {
		s.pauseDuration = s.d.cfg.PauseFor
		s.metrics.Paused.Set(1)
		s.d.cfg.Logger.Warn("a subscription was paused because its handler keeps failing", "subscription", s.ID, "failures", failures)
	}

	s.paused.Store(true)
	s.probeTimer = time.AfterFunc(s.pauseDuration, s.startProbe)
}

// startProbe lets one event run during a pause: the first one that a worker finds in its queue.
func (s *Subscriber) startProbe() {
	s.probe.Store(true)
	for i := range s.workers {
		s.workers[i].resumeJobs()
	}
}

// recordSuccess resets the failure count and ends a pause.
func (s *Subscriber) recordSuccess() {
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

	s.probeTimer.Stop()
	s.probe.Store(false)
	s.metrics.Paused.Set(0)
	s.d.cfg.Logger.Info("a paused subscription was resumed", "subscription", s.ID)

	for i := range s.workers {
		s.workers[i].resumeJobs()
	}
}
