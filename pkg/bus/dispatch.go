package bus

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A dispatcher hands events to subscriptions; both buses are one with a different
// front. It knows nothing of where events come from and where they end: it says so
// through what its owner sets.
type dispatcher struct {
	cfg     Config // with defaults
	metrics *busMetrics

	finished func(t *task)                // all subscriptions are through with it; the owner lowers inFlight
	through  func(t *task, s *subscriber) // one is, others are not yet
	bury     func(t *task, s *subscriber, attempts int, err error)

	complain rate.Sometimes

	inFlight tally // events that were started and not finished
	workers  tally // goroutines that run handlers

	// handlers is above all handlers' contexts. It ends when Close gives up waiting.
	handlers context.Context
	giveUp   context.CancelFunc

	mu    sync.Mutex // protects subs, and each change of plans
	subs  map[string]*subscriber
	plans atomic.Pointer[plans]
}

// plans say who gets events of which type. They never change; a new subscription
// makes new ones.
type plans struct {
	named  map[string]plan // types that some subscription names
	others plan            // all other types
}

// plan lists subscriptions by ascending priority, equal ones together.
type plan [][]*subscriber

// task is one event on its way through its subscriptions.
type task struct {
	event Event
	plan  plan
	level int32
	open  atomic.Int32 // first attempts of this level that have not ended
	left  atomic.Int32 // subscriptions that are not through

	entry        // Redis: where it came from
	done  func() // memory: called when it is finished
}

func newDispatcher(cfg Config, m *busMetrics) *dispatcher {
	d := &dispatcher{cfg: cfg, metrics: m, subs: map[string]*subscriber{}, complain: rate.Sometimes{First: 10, Interval: time.Second}}
	d.handlers, d.giveUp = context.WithCancel(context.Background())
	d.plans.Store(&plans{})
	return d
}

func (d *dispatcher) subscribe(sub Subscription) (func(context.Context) error, error) {
	if err := checkSubscription(&sub); err != nil {
		return nil, err
	}
	if len(sub.Types) == 0 {
		sub.Types = typesOf(sub.Handler)
	}
	sub.Priority = cmp.Or(sub.Priority, 100)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.handlers.Err() != nil {
		return nil, fmt.Errorf("subscribe %s: %w", sub.ID, ErrClosed)
	}
	if d.subs[sub.ID] != nil {
		return nil, fmt.Errorf("subscribe %s: %w", sub.ID, ErrSubscribed)
	}
	s := newSubscriber(d, sub)
	d.subs[sub.ID] = s
	d.plan()
	return func(ctx context.Context) error { return d.unsubscribe(ctx, s) }, nil
}

func (d *dispatcher) unsubscribe(ctx context.Context, s *subscriber) error {
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
	if err := s.running.zero(ctx); err != nil {
		return fmt.Errorf("unsubscribe %s: its handler still runs: %w", s.ID, err)
	}
	return nil
}

func (d *dispatcher) subscriber(id string) *subscriber {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subs[id]
}

// plan makes new plans. d.mu is held.
func (d *dispatcher) plan() {
	p := &plans{named: map[string]plan{}}
	all := make([]*subscriber, 0, len(d.subs))
	for _, s := range d.subs {
		all = append(all, s)
		for _, t := range s.Types {
			p.named[t] = nil
		}
	}
	slices.SortFunc(all, func(a, b *subscriber) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	for t := range p.named {
		p.named[t] = levels(all, func(s *subscriber) bool { return len(s.Types) == 0 || slices.Contains(s.Types, t) })
	}
	p.others = levels(all, func(s *subscriber) bool { return len(s.Types) == 0 })
	d.plans.Store(p)
}

func levels(sorted []*subscriber, wants func(*subscriber) bool) plan {
	var p plan
	last := 0
	for _, s := range sorted {
		switch {
		case !wants(s):
		case len(p) > 0 && s.Priority == last:
			p[len(p)-1] = append(p[len(p)-1], s)
		default:
			p, last = append(p, []*subscriber{s}), s.Priority
		}
	}
	return p
}

// planFor is who gets an event of a type.
func (d *dispatcher) planFor(eventType string) plan {
	p := d.plans.Load()
	if named, ok := p.named[eventType]; ok {
		return named
	}
	return p.others
}

// without leaves subscriptions out.
func (p plan) without(ids []string) plan {
	var left plan
	for _, level := range p {
		some := slices.DeleteFunc(slices.Clone(level), func(s *subscriber) bool { return slices.Contains(ids, s.ID) })
		if len(some) > 0 {
			left = append(left, some)
		}
	}
	return left
}

// start hands an event to the subscriptions of its plan. The caller has counted it in inFlight.
func (d *dispatcher) start(t *task) {
	n := 0
	for _, level := range t.plan {
		n += len(level)
	}
	if n == 0 {
		d.finished(t)
		return
	}
	t.left.Store(int32(n)) //nolint:gosec // subscriptions are few
	t.level = -1
	d.next(t)
}

// next hands an event to the subscriptions of the next priority.
//
// An account's events come here in order, and stay in order from one priority to
// the next: who ends a level hands the event on before it takes the account's next one.
func (d *dispatcher) next(t *task) {
	t.level++
	if int(t.level) >= len(t.plan) {
		return
	}
	level := t.plan[t.level]
	t.open.Store(int32(len(level))) //nolint:gosec // subscriptions are few
	for _, s := range level {
		s.lane(t).push(job{task: t, attempt: 1})
	}
}

// attempted says that a subscription's first attempt has ended, or waits for better times.
func (d *dispatcher) attempted(t *task) {
	if t.open.Add(-1) == 0 {
		d.next(t)
	}
}

// end says that a subscription is through with an event.
func (d *dispatcher) end(t *task, s *subscriber) {
	if t.left.Add(-1) == 0 {
		d.finished(t)
	} else {
		d.through(t, s)
	}
}

// drain waits for all events under way. When ctx ends before, handlers are told to
// give up, and the error is ctx's.
func (d *dispatcher) drain(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.handlers, cancel)() // somebody else gave up
	err := d.inFlight.zero(waiting)
	d.giveUp()
	d.mu.Lock()
	subs := d.subs
	d.subs = map[string]*subscriber{}
	d.plan()
	d.mu.Unlock()
	for _, s := range subs {
		s.leave()
	}
	if err != nil {
		return fmt.Errorf("close the bus: %d events were under way: %w", d.inFlight.count(), cmp.Or(ctx.Err(), err))
	}
	return d.workers.zero(ctx)
}

// laneOf spreads accounts over lanes. What has no account is spread by id.
func laneOf(e *Event, lanes int) int {
	name := e.Account
	if name == "" {
		name = e.ID
	}
	h := fnv1a(name)
	return int((h ^ h>>16) % uint32(lanes)) // not the bits that chose the partition
}

// since is for histograms.
func since(t time.Time) float64 { return time.Since(t).Seconds() }
