package httpserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Check is the health check of one dependency.
type Check struct {
	Name string
	// Ping is never called a second time before it has returned.
	Ping func(context.Context) error
	// Degrades marks a dependency that the process can work without. If it fails, the status of
	// /readyz stays 200.
	Degrades bool
}

// degradedError is an error of Check.Ping that does not make the process not ready.
type degradedError struct{ error }

// Degraded returns an error for Check.Ping that means that the process works without a part of the
// dependency. The status of /readyz stays 200.
func Degraded(err error) error { return degradedError{err} }

func isDegraded(err error) bool {
	var degraded degradedError
	return errors.As(err, &degraded)
}

// checkTimeout limits a health check, so that /readyz answers within 2 s.
const checkTimeout = 1500 * time.Millisecond

// checker runs a Check. Requests that come during a run share it. So a check that never returns
// costs one goroutine, however often /readyz is called.
type checker struct {
	Check

	mu      sync.Mutex // protects the fields below
	running *checkRun  // nil: none
	last    *checkRun  // the newest run that has ended; nil: none
}

// checkRun is one call of Check.Ping. The fields after done are set before done is closed.
type checkRun struct {
	started time.Time
	done    chan struct{}
	ended   time.Time
	err     error
}

// check returns the result of the running check, which it starts if there is none. It returns when
// ctx ends or the check has run for checkTimeout, even if Check.Ping does not.
func (c *checker) check(ctx context.Context) error {
	run := c.joinRun(ctx)
	timeout := time.NewTimer(time.Until(run.started.Add(checkTimeout)))
	defer timeout.Stop()

	select {
	case <-run.done:
		return run.err
	case <-timeout.C:
	case <-ctx.Done():
	}

	// The check may return at the same moment, with a better error.
	select {
	case <-run.done:
		return run.err
	default:
		return c.describeSilence(run)
	}
}

// joinRun returns the running check, or starts one. The check does not end with the request,
// because other requests may wait for it too.
func (c *checker) joinRun(ctx context.Context) *checkRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		return c.running
	}

	run := &checkRun{
		started: time.Now(),
		done:    make(chan struct{}),
	}
	c.running = run
	go c.callPing(context.WithoutCancel(ctx), run)
	return run
}

func (c *checker) callPing(ctx context.Context, run *checkRun) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	run.err = c.Ping(ctx)
	run.ended = time.Now()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = run
	c.running = nil
	close(run.done)
}

// describeSilence returns the error of a check that has not returned. It mentions the result of the
// run before it.
func (c *checker) describeSilence(run *checkRun) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	silence := time.Since(run.started).Round(100 * time.Millisecond)
	text := fmt.Sprintf("%s must answer within %v, but has been silent for %v", c.Name, checkTimeout, silence)
	if c.last == nil {
		return errors.New(text + "; it has not answered before")
	}

	result := "ok"
	if c.last.err != nil {
		result = c.last.err.Error()
	}
	age := time.Since(c.last.ended).Round(100 * time.Millisecond)
	return fmt.Errorf("%s; its answer %v ago: %s", text, age, result)
}
