// Package dispatch hands events to subscriptions by priority, with retries, pauses and dead
// letters. The owner of a Dispatcher starts the events and is called when they end.
package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// A Dispatcher hands events to subscriptions. Both buses are a dispatcher with a different source
// of events. It does not know where events come from and where they end: its owner sets functions
// that it calls.
type Dispatcher struct {
	cfg     bus.Config // with defaults
	Metrics *metrics.Bus

	Finished       func(t *Task)                // all subscriptions are done with the task; the owner lowers InFlight
	SubscriberDone func(t *Task, s *Subscriber) // s is done with the task, and others are not
	// DeadLetter stores a dead letter. The owner then calls EndSubscriber.
	DeadLetter func(t *Task, s *Subscriber, attempts int, err error)

	LogLimit rate.Sometimes

	InFlight wait.Tally // events that were started and are not finished
	running  wait.Tally // goroutines that run handlers

	// Handlers is the parent of all handlers' contexts. It ends when Close stops waiting for them.
	Handlers       context.Context
	cancelHandlers context.CancelFunc

	mu    sync.Mutex // protects subs, and each change of plans
	subs  map[string]*Subscriber
	plans atomic.Pointer[planTable]
}

// Task is one event that is being handled by its subscriptions.
type Task struct {
	Event bus.Event
	Plan  Plan

	level         int32        // index in Plan of the current priority
	levelAttempts atomic.Int32 // subscriptions of the level whose first attempt has not ended
	Remaining     atomic.Int32 // subscriptions that are not done with the event

	Owner any // for the owner of the dispatcher
}

// New returns a dispatcher. Its owner must set Finished, SubscriberDone and DeadLetter before it
// starts events.
func New(cfg bus.Config, m *metrics.Bus) *Dispatcher {
	d := &Dispatcher{
		cfg:      cfg,
		Metrics:  m,
		subs:     map[string]*Subscriber{},
		LogLimit: rate.Sometimes{First: 10, Interval: time.Second},
	}

	d.Handlers, d.cancelHandlers = context.WithCancel(context.Background())
	d.plans.Store(&planTable{})
	return d
}

// Subscribe adds a subscription. See bus.Bus.
func (d *Dispatcher) Subscribe(sub bus.Subscription) (func(context.Context) error, error) {
	err := bus.ValidateSubscription(&sub)
	if err != nil {
		return nil, err
	}

	if len(sub.Types) == 0 {
		sub.Types = bus.EventTypesOf(sub.Handler)
	}

	sub.Priority = cmp.Or(sub.Priority, 100)

	d.mu.Lock()
	defer d.mu.Unlock()

	if d.Handlers.Err() != nil {
		return nil, fmt.Errorf("subscribe %s: %w", sub.ID, bus.ErrClosed)
	}

	if d.subs[sub.ID] != nil {
		return nil, fmt.Errorf("subscribe %s: %w", sub.ID, bus.ErrSubscribed)
	}

	s := newSubscriber(d, sub)
	d.subs[sub.ID] = s
	d.rebuildPlans()

	return func(ctx context.Context) error { return d.unsubscribe(ctx, s) }, nil
}

func (d *Dispatcher) unsubscribe(ctx context.Context, s *Subscriber) error {
	d.mu.Lock()
	if d.subs[s.ID] == s {
		delete(d.subs, s.ID)
		d.rebuildPlans()
	}

	d.mu.Unlock()

	s.endSubscription()
	if ctx.Value(subscriberKey{}) == s {
		return nil // a handler of s must not wait for itself
	}

	err := s.running.WaitZero(ctx)
	if err != nil {
		return fmt.Errorf("unsubscribe %s: its handler is still running: %w", s.ID, err)
	}

	return nil
}

// Subscriber returns the subscription with this id, or nil.
func (d *Dispatcher) Subscriber(id string) *Subscriber {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subs[id]
}

// Start hands an event to the subscriptions of its plan. The caller has counted it in InFlight.
func (d *Dispatcher) Start(t *Task) {
	n := 0
	for _, level := range t.Plan {
		n += len(level)
	}

	if n == 0 {
		d.Finished(t)
		return
	}

	t.Remaining.Store(int32(n)) //nolint:gosec // subscriptions are few
	t.level = -1
	d.startNextLevel(t)
}

// startNextLevel hands an event to the subscriptions of the next priority.
//
// It is called in order for the events of an account, and keeps them in order from one priority to
// the next: a worker that ends a level starts the next one before it handles the account's next
// event.
func (d *Dispatcher) startNextLevel(t *Task) {
	t.level++
	if int(t.level) >= len(t.Plan) {
		return
	}

	level := t.Plan[t.level]
	t.levelAttempts.Store(int32(len(level))) //nolint:gosec // subscriptions are few
	for _, s := range level {
		s.workerFor(t).enqueueJob(job{task: t, attempt: 1})
	}
}

// endFirstAttempt records that a subscription's first attempt has ended, or that it waits for the
// end of a pause. After the last one of a level, the next level starts.
func (d *Dispatcher) endFirstAttempt(t *Task) {
	if t.levelAttempts.Add(-1) == 0 {
		d.startNextLevel(t)
	}
}

// EndSubscriber records that a subscription is done with an event.
func (d *Dispatcher) EndSubscriber(t *Task, s *Subscriber) {
	if t.Remaining.Add(-1) == 0 {
		d.Finished(t)
	} else {
		d.SubscriberDone(t, s)
	}
}

// Drain waits for all events in flight and then ends all subscriptions. If ctx ends first, it
// cancels the handlers and returns ctx's error.
func (d *Dispatcher) Drain(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.Handlers, cancel)() // a concurrent Drain canceled the handlers
	err := d.InFlight.WaitZero(waiting)
	d.cancelHandlers()

	d.mu.Lock()
	subs := d.subs
	d.subs = map[string]*Subscriber{}
	d.rebuildPlans()
	d.mu.Unlock()

	for _, s := range subs {
		s.endSubscription()
	}

	if err != nil {
		return fmt.Errorf("close the bus with %d events in flight: %w", d.InFlight.Count(), cmp.Or(ctx.Err(), err))
	}

	return d.running.WaitZero(ctx)
}
