package dispatch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// Subscriber is a subscription at work.
type Subscriber struct {
	bus.Subscription
	d        *Dispatcher
	lanes    []lane
	running  wait.Tally      // lanes at work
	handlers context.Context // above the contexts of its handlers; it names the subscriber
	gone     atomic.Bool
	metrics  metrics.Subscriber

	failures atomic.Int32 // attempts that failed in a row
	paused   atomic.Bool
	probe    atomic.Bool // paused, and one event may try whether it works again

	mu       sync.Mutex           // protects the rest
	pauseFor time.Duration        // of the pause under way
	resumes  *time.Timer          // of the pause under way
	waiting  map[*time.Timer]*job // for their next attempt
}

func newSubscriber(d *Dispatcher, sub bus.Subscription) *Subscriber {
	s := &Subscriber{
		Subscription: sub, d: d, lanes: make([]lane, d.cfg.Concurrency),
		metrics: d.Metrics.ForSubscriber(sub.ID), waiting: map[*time.Timer]*job{},
	}
	s.handlers = context.WithValue(d.Handlers, handlerOf{}, s)
	for i := range s.lanes {
		s.lanes[i].s = s
	}
	return s
}

func (s *Subscriber) lane(t *Task) *lane { return &s.lanes[laneOf(&t.Event, len(s.lanes))] }

// leave ends the subscription: what waits for it is dropped, what runs goes on.
func (s *Subscriber) leave() {
	s.gone.Store(true)
	s.mu.Lock()
	if s.resumes != nil {
		s.resumes.Stop()
	}
	var dropped []*job
	for timer, j := range s.waiting {
		if timer.Stop() {
			dropped = append(dropped, j)
			delete(s.waiting, timer)
		}
	}
	s.mu.Unlock()
	for _, j := range dropped {
		s.drop(*j)
	}
	for i := range s.lanes {
		s.lanes[i].wake()
	}
	s.metrics.Paused.Set(0)
}

// drop ends what will not be handled. When the whole bus gave up, the event stays
// unfinished, so that it is handled later.
func (s *Subscriber) drop(j job) {
	if s.d.Handlers.Err() != nil {
		return
	}
	if !j.counted {
		s.d.attempted(j.task)
	}
	s.d.End(j.task, s)
}

// A job is one attempt to come.
type job struct {
	task    *Task
	attempt int
	counted bool // attempted was said
}

// A lane runs a subscription's jobs one after the other, on a goroutine that is
// there only while there are some. An account's jobs always take the same lane.
type lane struct {
	s       *Subscriber
	mu      sync.Mutex // protects the rest
	queue   []job
	spare   []job // the queue before, for its space
	working bool
}

func (l *lane) push(j job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, j)
	if !l.working && l.held() {
		l.passOn(&l.queue[len(l.queue)-1])
	} else {
		l.work() // a lane at work has earlier events, and passes this one on after them
	}
}

// held tells that what waits has to wait on for the end of a pause.
func (l *lane) held() bool { return l.s.paused.Load() && !l.s.probe.Load() && !l.s.gone.Load() }

// passOn lets an event that waits for the end of a pause go on to other subscriptions. l.mu is held, so that an account's
// events go on in order; lanes that it locks in turn are of later priorities.
func (l *lane) passOn(j *job) {
	if !j.counted {
		j.counted = true
		l.s.d.attempted(j.task)
	}
}

// wake lets go on what a pause has held up.
func (l *lane) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		l.work()
	}
}

// work starts the goroutine if there is none. l.mu is held.
func (l *lane) work() {
	if l.working {
		return
	}
	l.working = true
	l.s.running.Add(1)
	l.s.d.workers.Add(1)
	go l.run()
}

func (l *lane) run() {
	defer l.s.d.workers.Add(-1)
	defer l.s.running.Add(-1)
	for {
		jobs := l.take()
		if jobs == nil {
			return
		}
		for i := range jobs {
			if !l.do(&jobs[i]) {
				if l.putBack(jobs[i:]) {
					return
				}
				break
			}
			jobs[i] = job{}
		}
	}
}

// take takes all that waits; nil: nothing, and the lane has no goroutine any more.
func (l *lane) take() []job {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.working = false
		return nil
	}
	jobs := l.queue
	l.queue, l.spare = l.spare[:0], jobs
	return jobs
}

// do runs a job; false: not now, since the subscription is paused.
func (l *lane) do(j *job) bool {
	s := l.s
	if s.gone.Load() {
		s.drop(*j)
		return true
	}
	probe := false
	if s.paused.Load() {
		if probe = s.probe.CompareAndSwap(true, false); !probe && s.paused.Load() {
			return false
		}
	}
	s.attempt(j, probe)
	if !j.counted {
		s.d.attempted(j.task)
	}
	return true
}

// putBack keeps jobs for after the pause; they hold up no other subscription. It is
// false when the pause is over by now.
func (l *lane) putBack(jobs []job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, l.spare = append(append([]job(nil), jobs...), l.queue...), nil
	l.working = !l.held()
	if l.working {
		return false
	}
	for i := range l.queue {
		l.passOn(&l.queue[i])
	}
	return true
}
