package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// attempt calls the handler once and decides what comes then.
func (s *Subscriber) attempt(j *job, probe bool) {
	t, m := j.task, s.metrics.ForType(j.task.Event.Type)
	s.metrics.Running.Inc()
	start := time.Now()
	err := s.call(&t.Event, start)
	m.Seconds.Observe(since(start))
	s.metrics.Running.Dec()
	if err == nil {
		m.Success.Inc()
		s.metrics.Attempts.Observe(float64(j.attempt))
		s.worked()
		s.d.End(t, s)
		return
	}
	m.Failure.Inc()
	s.failed(probe)
	switch {
	case s.d.Handlers.Err() != nil:
		// Close told it to give up: it is handled again by who comes next.
	case bus.IsPermanent(err) || j.attempt >= s.d.cfg.Attempts:
		s.metrics.Attempts.Observe(float64(j.attempt))
		m.Dead.Inc()
		s.d.LogLimit.Do(func() {
			s.d.cfg.Logger.Error("an event became a dead letter", "subscriber", s.ID, "event", t.Event.ID, "type", t.Event.Type,
				"attempts", j.attempt, "error", ErrorText(err))
		})
		s.d.DeadLetter(t, s, j.attempt, err)
	default:
		s.d.cfg.Logger.Debug("a handler failed and is tried again", "subscriber", s.ID, "event", t.Event.ID, "type", t.Event.Type,
			"attempt", j.attempt, "error", err)
		s.retry(job{task: t, attempt: j.attempt + 1, counted: true})
	}
}

// retry queues a job again after a while: exponential backoff with full jitter.
func (s *Subscriber) retry(j job) {
	most := s.d.cfg.MaxDelay
	if shift := j.attempt - 2; shift < 32 && s.d.cfg.FirstDelay<<shift < most {
		most = s.d.cfg.FirstDelay << shift
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(rand.N(most+1), func() {
		s.mu.Lock()
		delete(s.waiting, timer)
		s.mu.Unlock()
		s.lane(j.task).push(j)
	})
	s.waiting[timer] = &j
}

// call calls the handler. A panic stays here and becomes an error with its stack.
func (s *Subscriber) call(e *bus.Event, start time.Time) (err error) {
	ctx, cancel := context.WithDeadline(s.handlers, start.Add(s.d.cfg.HandlerTimeout))
	defer func() {
		cancel()
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n\n%s", v, debug.Stack())
		}
	}()
	return s.Handler.Handle(ctx, e)
}

// handlerOf is the key of the subscriber that a handler's context belongs to.
type handlerOf struct{}
