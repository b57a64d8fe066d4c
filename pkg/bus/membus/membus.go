package membus

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/bus/internal/wait"
)

// Bus is a bus within the process, for tests: nothing outlives it. It handles
// events as soon as they are published; Run only waits. Config's Keys, Consumer,
// Partitions, FromNow, MaxLen, ClaimAfter and DoneTTL mean nothing to it.
type Bus struct {
	cfg bus.Config
	d   *dispatch.Dispatcher

	mu      sync.Mutex // protects the rest
	seen    map[string]time.Time
	order   []string         // of seen, the oldest first
	letters []bus.DeadLetter // the oldest first
	lastID  int              // of a letter
	closed  bool

	closing chan struct{} // closed with closed
}

// maxSeen bounds the ids and keys that a memory bus remembers, maxLetters its dead
// letters; the oldest go first.
const (
	maxSeen    = 1 << 20
	maxLetters = 1 << 16
)

var _ bus.Bus = (*Bus)(nil)

// New makes a bus within the process.
func New(cfg bus.Config) *Bus {
	cfg = cfg.WithDefaults()
	cfg.Group = cmp.Or(cfg.Group, "memory")
	b := &Bus{
		cfg: cfg, d: dispatch.New(cfg, metrics.NewBus(cfg.Registerer, cfg.Group)),
		seen: map[string]time.Time{}, closing: make(chan struct{}),
	}
	b.d.Finished = b.finished
	b.d.SubscriberDone = func(*dispatch.Task, *dispatch.Subscriber) {}
	b.d.DeadLetter = b.deadLetter
	return b
}

// Subscribe implements Bus.
func (b *Bus) Subscribe(s bus.Subscription) (func(context.Context) error, error) {
	return b.d.Subscribe(s)
}

// Publish implements Bus.
func (b *Bus) Publish(ctx context.Context, events ...bus.Event) ([]bus.Status, error) {
	events, err := bus.ValidateEvents(events)
	if err != nil {
		return nil, err
	}
	return b.take(ctx, events)
}

// Deliver takes deliveries as the relay brings the ledger's: with seq, and without
// a second time for the second party's Copy unless Config.Copies asks for it. It returns when handlers have them, as
// Publish does.
func (b *Bus) Deliver(ctx context.Context, deliveries ...bus.Delivery) error {
	var events []bus.Event
	for i := range deliveries {
		if d := &deliveries[i]; !d.SecondParty || b.cfg.Copies {
			events = append(events, bus.Event{
				ID: d.ID, Type: d.Type, Account: d.Account, Seq: d.Seq,
				Amount: d.Amount, Reason: d.Reason, Feature: d.Feature, Data: d.Data, TraceParent: d.TraceParent,
			})
		}
	}
	_, err := b.take(ctx, events)
	return err
}

func (b *Bus) take(ctx context.Context, events []bus.Event) ([]bus.Status, error) {
	statuses := make([]bus.Status, len(events))
	var handled wait.Tally
	for i := range events {
		if err := b.d.InFlight.Enter(ctx, b.cfg.MaxInFlight); err != nil {
			return statuses, fmt.Errorf("publish event %d of %d: %d are under way: %w", i+1, len(events), b.cfg.MaxInFlight, err)
		}
		var err error
		if statuses[i], err = b.accept(&events[i]); statuses[i] != bus.Published {
			b.d.InFlight.Add(-1)
			if err != nil {
				return statuses, err
			}
			continue
		}
		t := &dispatch.Task{Event: events[i], Plan: b.d.PlanFor(events[i].Type)}
		if b.cfg.Synchronous {
			handled.Add(1)
			t.Owner = func() { handled.Add(-1) }
		}
		b.start(t)
	}
	if err := handled.WaitZero(ctx); err != nil {
		return statuses, fmt.Errorf("wait for handlers: %w", err)
	}
	return statuses, nil
}

// accept says that an event is published, unless it is a duplicate.
func (b *Bus) accept(e *bus.Event) (bus.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return bus.Unknown, fmt.Errorf("publish: %w", bus.ErrClosed)
	}
	if !b.cfg.AllowDuplicates {
		now := time.Now()
		b.forget(now)
		id := "id:" + e.ID
		if e.Seq > 0 { // the ledger's: both parties' deliveries have it
			id += " " + e.Account
		}
		_, sameID := b.seen[id]
		_, sameKey := b.seen["key:"+e.Key]
		if sameID || (e.Key != "" && sameKey) {
			b.d.Metrics.Duplicate.WithLabelValues(b.d.Metrics.TypeLabel(e.Type)).Inc()
			return bus.Duplicate, nil
		}
		b.remember(id, now)
		if e.Key != "" {
			b.remember("key:"+e.Key, now)
		}
	}
	b.d.Metrics.Published.WithLabelValues(b.d.Metrics.TypeLabel(e.Type)).Inc()
	return bus.Published, nil
}

func (b *Bus) remember(name string, now time.Time) {
	b.seen[name] = now.Add(b.cfg.DedupTTL)
	b.order = append(b.order, name)
}

func (b *Bus) forget(now time.Time) {
	for len(b.order) > 0 && (len(b.order) > maxSeen || !now.Before(b.seen[b.order[0]])) {
		delete(b.seen, b.order[0])
		b.order = b.order[1:]
	}
}

func (b *Bus) start(t *dispatch.Task) {
	b.d.Metrics.InFlight.Inc()
	if len(t.Plan) == 0 {
		b.d.Metrics.NoSubscribers.WithLabelValues(b.d.Metrics.TypeLabel(t.Event.Type)).Inc()
	}
	b.d.Start(t)
}

func (b *Bus) finished(t *dispatch.Task) {
	b.d.Metrics.InFlight.Dec()
	b.d.InFlight.Add(-1)
	if done, ok := t.Owner.(func()); ok {
		done()
	}
}

// Run implements Bus.
func (b *Bus) Run(ctx context.Context) error {
	select {
	case <-b.closing:
		return nil
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.DrainTimeout)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		b.cfg.Logger.Warn("the bus stopped before all was handled", "error", err)
	}
	return nil
}

// Close implements Bus.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.closing)
	}
	b.mu.Unlock()
	return b.d.Drain(ctx)
}
