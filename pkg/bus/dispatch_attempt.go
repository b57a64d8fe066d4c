package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// attempt calls the handler once and decides what comes then.
func (s *subscriber) attempt(j *job, probe bool) {
	t, m := j.task, s.metrics.forType(j.task.event.Type)
	s.metrics.running.Inc()
	start := time.Now()
	err := s.call(&t.event, start)
	m.seconds.Observe(since(start))
	s.metrics.running.Dec()
	if err == nil {
		m.success.Inc()
		s.metrics.attempts.Observe(float64(j.attempt))
		s.worked()
		s.d.end(t, s)
		return
	}
	m.failure.Inc()
	s.failed(probe)
	switch {
	case s.d.handlers.Err() != nil:
		// Close told it to give up: it is handled again by who comes next.
	case permanent(err) || j.attempt >= s.d.cfg.Attempts:
		s.metrics.attempts.Observe(float64(j.attempt))
		m.dead.Inc()
		s.d.complain.Do(func() {
			s.d.cfg.Logger.Error("an event became a dead letter", "subscriber", s.ID, "event", t.event.ID, "type", t.event.Type,
				"attempts", j.attempt, "error", errorText(err))
		})
		s.d.bury(t, s, j.attempt, err)
	default:
		s.d.cfg.Logger.Debug("a handler failed and is tried again", "subscriber", s.ID, "event", t.event.ID, "type", t.event.Type,
			"attempt", j.attempt, "error", err)
		s.retry(job{task: t, attempt: j.attempt + 1, counted: true})
	}
}

// retry queues a job again after a while: exponential backoff with full jitter.
func (s *subscriber) retry(j job) {
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
func (s *subscriber) call(e *Event, start time.Time) (err error) {
	ctx := &handlerContext{Context: s.d.handlers, s: s, deadline: start.Add(s.d.cfg.HandlerTimeout)}
	defer func() {
		ctx.end()
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n\n%s", v, debug.Stack())
		}
	}()
	return s.Handler.Handle(ctx, e)
}

// handlerOf is the key of the subscriber that a handler's context belongs to.
type handlerOf struct{}

// handlerContext is a context with a deadline whose timer is made only when
// somebody waits for it: most handlers end long before, and a timer for each costs
// more than calling them.
type handlerContext struct {
	context.Context // above it
	s               *subscriber
	deadline        time.Time

	mu     sync.Mutex // protects the rest
	over   bool
	real   context.Context
	cancel context.CancelFunc
}

func (c *handlerContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *handlerContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.real.Done()
}

func (c *handlerContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
		return c.real.Err()
	case c.over:
		return context.Canceled
	case c.Context.Err() != nil:
		return c.Context.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

func (c *handlerContext) Value(key any) any {
	if key == (handlerOf{}) {
		return c.s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real != nil {
		return c.real.Value(key)
	}
	return c.Context.Value(key)
}

// end ends the context with the call.
func (c *handlerContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
