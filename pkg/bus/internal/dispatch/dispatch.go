// Package dispatch hands events to subscriptions: by priority, with retries, pauses and dead letters. It
// knows neither where events come from nor where they end. Its owner says so.
package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// A Dispatcher hands events to subscriptions; both buses are one with a different
// front. It knows nothing of where events come from and where they end: it says so
// through what its owner sets.
type Dispatcher struct {
	cfg     bus.Config // with defaults
	Metrics *metrics.Bus

	Finished       func(t *Task)                // all subscriptions are through with it; the owner lowers inFlight
	SubscriberDone func(t *Task, s *Subscriber) // one is, others are not yet
	DeadLetter     func(t *Task, s *Subscriber, attempts int, err error)

	LogLimit rate.Sometimes

	InFlight wait.Tally // events that were started and not finished
	workers  wait.Tally // goroutines that run handlers

	// handlers is above all handlers' contexts. It ends when Close gives up waiting.
	Handlers context.Context
	giveUp   context.CancelFunc

	mu    sync.Mutex // protects subs, and each change of plans
	subs  map[string]*Subscriber
	plans atomic.Pointer[plans]
}

// plans say who gets events of which type. They never change; a new subscription
// makes new ones.
type plans struct {
	named  map[string]Plan // types that some subscription names
	others Plan            // all other types
}

// Plan lists subscriptions by ascending priority, equal ones together.
type Plan [][]*Subscriber

// Task is one event on its way through its subscriptions.
type Task struct {
	Event bus.Event
	Plan  Plan
	level int32
	open  atomic.Int32 // first attempts of this level that have not ended
	Left  atomic.Int32 // subscriptions that are not through

	Owner any // what the owner of the dispatcher keeps with the event
}

// New returns a dispatcher. Its owner sets Finished, SubscriberDone and DeadLetter before it starts events.
func New(cfg bus.Config, m *metrics.Bus) *Dispatcher {
	d := &Dispatcher{cfg: cfg, Metrics: m, subs: map[string]*Subscriber{}, LogLimit: rate.Sometimes{First: 10, Interval: time.Second}}
	d.Handlers, d.giveUp = context.WithCancel(context.Background())
	d.plans.Store(&plans{})
	return d
}

// Subscribe adds a subscription. See bus.Bus.
func (d *Dispatcher) Subscribe(sub bus.Subscription) (func(context.Context) error, error) {
	if err := bus.ValidateSubscription(&sub); err != nil {
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
	d.plan()
	return func(ctx context.Context) error { return d.unsubscribe(ctx, s) }, nil
}

func (d *Dispatcher) unsubscribe(ctx context.Context, s *Subscriber) error {
	d.mu.Lock()
	if d.subs[s.ID] == s {
		delete(d.subs, s.ID)
		d.plan()
	}
	d.mu.Unlock()
	s.leave()
	if ctx.Value(handlerOf{}) == s {
		return nil // it would wait for itself
	}
	if err := s.running.WaitZero(ctx); err != nil {
		return fmt.Errorf("unsubscribe %s: its handler still runs: %w", s.ID, err)
	}
	return nil
}

// Subscriber returns the subscription with this id, or nil.
func (d *Dispatcher) Subscriber(id string) *Subscriber {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subs[id]
}

// plan makes new plans. d.mu is held.
func (d *Dispatcher) plan() {
	p := &plans{named: map[string]Plan{}}
	all := make([]*Subscriber, 0, len(d.subs))
	for _, s := range d.subs {
		all = append(all, s)
		for _, t := range s.Types {
			p.named[t] = nil
		}
	}
	slices.SortFunc(all, func(a, b *Subscriber) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	for t := range p.named {
		p.named[t] = levels(all, func(s *Subscriber) bool { return len(s.Types) == 0 || slices.Contains(s.Types, t) })
	}
	p.others = levels(all, func(s *Subscriber) bool { return len(s.Types) == 0 })
	d.plans.Store(p)
}

func levels(sorted []*Subscriber, wants func(*Subscriber) bool) Plan {
	var p Plan
	last := 0
	for _, s := range sorted {
		switch {
		case !wants(s):
		case len(p) > 0 && s.Priority == last:
			p[len(p)-1] = append(p[len(p)-1], s)
		default:
			p, last = append(p, []*Subscriber{s}), s.Priority
		}
	}
	return p
}

// PlanFor is who gets an event of a type.
func (d *Dispatcher) PlanFor(eventType string) Plan {
	p := d.plans.Load()
	if named, ok := p.named[eventType]; ok {
		return named
	}
	return p.others
}

// Without leaves subscriptions out.
func (p Plan) Without(ids []string) Plan {
	var left Plan
	for _, level := range p {
		some := slices.DeleteFunc(slices.Clone(level), func(s *Subscriber) bool { return slices.Contains(ids, s.ID) })
		if len(some) > 0 {
			left = append(left, some)
		}
	}
	return left
}

// Start hands an event to the subscriptions of its plan. The caller has counted it in inFlight.
func (d *Dispatcher) Start(t *Task) {
	n := 0
	for _, level := range t.Plan {
		n += len(level)
	}
	if n == 0 {
		d.Finished(t)
		return
	}
	t.Left.Store(int32(n)) //nolint:gosec // subscriptions are few
	t.level = -1
	d.next(t)
}

// next hands an event to the subscriptions of the next priority.
//
// An account's events come here in order, and stay in order from one priority to
// the next: who ends a level hands the event on before it takes the account's next one.
func (d *Dispatcher) next(t *Task) {
	t.level++
	if int(t.level) >= len(t.Plan) {
		return
	}
	level := t.Plan[t.level]
	t.open.Store(int32(len(level))) //nolint:gosec // subscriptions are few
	for _, s := range level {
		s.lane(t).push(job{task: t, attempt: 1})
	}
}

// attempted says that a subscription's first attempt has ended, or waits for better times.
func (d *Dispatcher) attempted(t *Task) {
	if t.open.Add(-1) == 0 {
		d.next(t)
	}
}

// End says that a subscription is through with an event.
func (d *Dispatcher) End(t *Task, s *Subscriber) {
	if t.Left.Add(-1) == 0 {
		d.Finished(t)
	} else {
		d.SubscriberDone(t, s)
	}
}

// Drain waits for all events under way. When ctx ends before, handlers are told to
// give up, and the error is ctx's.
func (d *Dispatcher) Drain(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.Handlers, cancel)() // somebody else gave up
	err := d.InFlight.WaitZero(waiting)
	d.giveUp()
	d.mu.Lock()
	subs := d.subs
	d.subs = map[string]*Subscriber{}
	d.plan()
	d.mu.Unlock()
	for _, s := range subs {
		s.leave()
	}
	if err != nil {
		return fmt.Errorf("close the bus: %d events were under way: %w", d.InFlight.Count(), cmp.Or(ctx.Err(), err))
	}
	return d.workers.WaitZero(ctx)
}

// laneSeed is not what chose the partition: a partition's accounts must spread over all lanes.
var laneSeed = maphash.MakeSeed()

// laneOf spreads accounts over lanes. What has no account is spread by id.
func laneOf(e *bus.Event, lanes int) int {
	name := e.Account
	if name == "" {
		name = e.ID
	}
	return int(maphash.String(laneSeed, name) % uint64(lanes)) //nolint:gosec // lanes are few
}

// since is for histograms.
func since(t time.Time) float64 { return time.Since(t).Seconds() }
