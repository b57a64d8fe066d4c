package dispatch

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// Subscriber is a subscription with its workers.
type Subscriber struct {
	bus.Subscription
	d        *Dispatcher
	workers  []worker
	running  wait.Tally      // workers with a goroutine
	handlers context.Context // parent of its handlers' contexts, with the value of subscriberKey
	ended    atomic.Bool     // it was unsubscribed, or the bus was closed
	metrics  metrics.Subscriber

	failures atomic.Int32 // attempts that failed in a row
	paused   atomic.Bool
	probe    atomic.Bool // paused, and one event may run as a probe

	mu            sync.Mutex           // protects the rest
	pauseDuration time.Duration        // of the current pause
	probeTimer    *time.Timer          // of the current pause
	retries       map[*time.Timer]*job // jobs that wait for their next attempt
}

// subscriberKey is the context key of the subscriber that a handler belongs to.
type subscriberKey struct{}

func newSubscriber(d *Dispatcher, sub bus.Subscription) *Subscriber {
	s := &Subscriber{
		Subscription: sub,
		d:            d,
		workers:      make([]worker, d.cfg.Concurrency),
		metrics:      d.Metrics.ForSubscriber(sub.ID),
		retries:      map[*time.Timer]*job{},
	}

	s.handlers = context.WithValue(d.Handlers, subscriberKey{}, s)
	for i := range s.workers {
		s.workers[i].s = s
	}

	return s
}

// workerSeed makes WorkerOf independent of the hash that chooses the partition. A partition's
// accounts must spread over all workers.
var workerSeed = maphash.MakeSeed()

// workerFor returns the worker of the task's account. Events without an account are spread by id.
func (s *Subscriber) workerFor(t *Task) *worker {
	name := t.Event.Account
	if name == "" {
		name = t.Event.ID
	}

	return &s.workers[WorkerOf(name, len(s.workers))]
}

// WorkerOf returns which of n workers handles the events of an account. It differs between processes.
func WorkerOf(account string, n int) int {
	return int(maphash.String(workerSeed, account) % uint64(n)) //nolint:gosec // n is positive
}

// endSubscription drops the waiting jobs. Running handlers continue.
func (s *Subscriber) endSubscription() {
	s.ended.Store(true)
	s.mu.Lock()
	if s.probeTimer != nil {
		s.probeTimer.Stop()
	}

	var dropped []*job
	for timer, j := range s.retries {
		if timer.Stop() {
			dropped = append(dropped, j)
			delete(s.retries, timer)
		}
	}

	s.mu.Unlock()

	for _, j := range dropped {
		s.dropJob(*j)
	}

	for i := range s.workers {
		s.workers[i].resumeJobs()
	}

	s.metrics.Paused.Set(0)
}

// dropJob ends a job without running it. If the bus canceled its handlers, the event stays
// unfinished so that it is handled later.
func (s *Subscriber) dropJob(j job) {
	if s.d.Handlers.Err() != nil {
		return
	}

	if !j.firstEnded {
		s.d.endFirstAttempt(j.task)
	}

	s.d.EndSubscriber(j.task, s)
}
