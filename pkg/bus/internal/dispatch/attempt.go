package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// attemptJob calls the handler once. After a failure it schedules a retry or writes a dead letter.
func (s *Subscriber) attemptJob(j *job, probe bool) {
	t := j.task
	m := s.metrics.ForType(t.Event.Type)
	s.metrics.Running.Inc()
	start := time.Now()
	err := s.callHandler(&t.Event, start)
	m.Seconds.Observe(time.Since(start).Seconds())
	s.metrics.Running.Dec()
	if err == nil {
		m.Success.Inc()
		s.metrics.Attempts.Observe(float64(j.attempt))
		s.recordSuccess()
		s.d.EndSubscriber(t, s)

		return
	}

	m.Failure.Inc()
	s.recordFailure(probe)
	switch {
	case s.d.Handlers.Err() != nil:
		// Close canceled the handler. The event is not finished, so it will be handled again.
	case bus.IsPermanent(err) || j.attempt >= s.d.cfg.Attempts:
		s.metrics.Attempts.Observe(float64(j.attempt))
		m.Dead.Inc()
		s.d.LogLimit.Do(func() {
			s.d.cfg.Logger.Error("an event became a dead letter",
				"subscription", s.ID, "event", t.Event.ID, "type", t.Event.Type, "attempts", j.attempt, "error", ErrorText(err))
		})

		s.d.DeadLetter(t, s, j.attempt, err)
	default:
		s.d.cfg.Logger.Debug("handling an event failed; retrying",
			"subscription", s.ID, "event", t.Event.ID, "type", t.Event.Type, "attempt", j.attempt, "error", err)
		s.scheduleRetry(job{task: t, attempt: j.attempt + 1, firstEnded: true})
	}
}

// scheduleRetry enqueues a job again after a delay: exponential backoff with full jitter.
func (s *Subscriber) scheduleRetry(j job) {
	maxDelay := s.d.cfg.MaxDelay
	shift := j.attempt - 2
	if shift < 32 && s.d.cfg.FirstDelay<<shift < maxDelay {
		maxDelay = s.d.cfg.FirstDelay << shift
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	var timer *time.Timer
	timer = time.AfterFunc(rand.N(maxDelay+1), func() {
		s.mu.Lock()
		delete(s.retries, timer)
		s.mu.Unlock()
		s.workerFor(j.task).enqueueJob(j)
	})

	s.retries[timer] = &j
}

// callHandler calls the handler. It returns a panic as an error with its stack.
func (s *Subscriber) callHandler(e *bus.Event, start time.Time) (err error) {
	ctx, cancel := context.WithDeadline(s.handlers, start.Add(s.d.cfg.HandlerTimeout))
	defer func() {
		cancel()
		v := recover()
		if v != nil {
			err = fmt.Errorf("panic: %v\n\n%s", v, debug.Stack())
		}
	}()

	return s.Handler.Handle(ctx, e)
}
