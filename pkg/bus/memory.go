package bus

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Memory is a bus within the process, for tests: nothing outlives it. It handles
// events as soon as they are published; Run only waits. Config's Keys, Consumer,
// Partitions, FromNow, MaxLen, ClaimAfter and DoneTTL mean nothing to it.
type Memory struct {
	cfg Config
	d   *dispatcher

	mu      sync.Mutex // protects the rest
	seen    map[string]time.Time
	order   []string     // of seen, the oldest first
	letters []DeadLetter // the oldest first
	lastID  int          // of a letter
	closed  bool

	closing chan struct{} // closed with closed
}

// maxSeen bounds the ids and keys that a memory bus remembers, maxLetters its dead
// letters; the oldest go first.
const (
	maxSeen    = 1 << 20
	maxLetters = 1 << 16
)

var _ Bus = (*Memory)(nil)

// NewMemory makes a bus within the process.
func NewMemory(cfg Config) *Memory {
	cfg = cfg.withDefaults()
	cfg.Group = cmp.Or(cfg.Group, "memory")
	b := &Memory{
		cfg: cfg, d: newDispatcher(cfg, newBusMetrics(cfg.Registerer, cfg.Group)),
		seen: map[string]time.Time{}, closing: make(chan struct{}),
	}
	b.d.finished = b.finished
	b.d.through = func(*task, *subscriber) {}
	b.d.bury = b.bury
	return b
}

// Subscribe implements Bus.
func (b *Memory) Subscribe(s Subscription) (func(context.Context) error, error) {
	return b.d.subscribe(s)
}

// Publish implements Bus.
func (b *Memory) Publish(ctx context.Context, events ...Event) ([]Status, error) {
	events, err := checkEvents(events)
	if err != nil {
		return nil, err
	}
	return b.take(ctx, events)
}

// Deliver takes deliveries as the relay brings the ledger's: with seq, and without
// a second time for the second party's Copy unless Config.Copies asks for it. It returns when handlers have them, as
// Publish does.
func (b *Memory) Deliver(ctx context.Context, deliveries ...Delivery) error {
	var events []Event
	for i := range deliveries {
		if d := &deliveries[i]; !d.Copy || b.cfg.Copies {
			events = append(events, Event{
				ID: d.ID, Type: d.Type, Account: d.Account, Seq: d.Seq,
				Amount: d.Amount, Reason: d.Reason, Feature: d.Feature, Data: d.Data, TraceParent: d.TraceParent,
			})
		}
	}
	_, err := b.take(ctx, events)
	return err
}

func (b *Memory) take(ctx context.Context, events []Event) ([]Status, error) {
	statuses := make([]Status, len(events))
	var handled tally
	for i := range events {
		if err := b.d.inFlight.enter(ctx, b.cfg.MaxInFlight); err != nil {
			return statuses, fmt.Errorf("publish event %d of %d: %d are under way: %w", i+1, len(events), b.cfg.MaxInFlight, err)
		}
		var err error
		if statuses[i], err = b.accept(&events[i]); statuses[i] != Published {
			b.d.inFlight.add(-1)
			if err != nil {
				return statuses, err
			}
			continue
		}
		t := &task{event: events[i], plan: b.d.planFor(events[i].Type)}
		if b.cfg.Synchronous {
			handled.add(1)
			t.done = func() { handled.add(-1) }
		}
		b.start(t)
	}
	if err := handled.zero(ctx); err != nil {
		return statuses, fmt.Errorf("wait for handlers: %w", err)
	}
	return statuses, nil
}

// accept says that an event is published, unless it is a duplicate.
func (b *Memory) accept(e *Event) (Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return Unknown, fmt.Errorf("publish: %w", ErrClosed)
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
			b.d.metrics.duplicate.WithLabelValues(b.d.metrics.labels.Of(e.Type)).Inc()
			return Duplicate, nil
		}
		b.remember(id, now)
		if e.Key != "" {
			b.remember("key:"+e.Key, now)
		}
	}
	b.d.metrics.published.WithLabelValues(b.d.metrics.labels.Of(e.Type)).Inc()
	return Published, nil
}

func (b *Memory) remember(name string, now time.Time) {
	b.seen[name] = now.Add(b.cfg.DedupTTL)
	b.order = append(b.order, name)
}

func (b *Memory) forget(now time.Time) {
	for len(b.order) > 0 && (len(b.order) > maxSeen || !now.Before(b.seen[b.order[0]])) {
		delete(b.seen, b.order[0])
		b.order = b.order[1:]
	}
}

func (b *Memory) start(t *task) {
	b.d.metrics.inFlight.Inc()
	if len(t.plan) == 0 {
		b.d.metrics.noSubscribers.WithLabelValues(b.d.metrics.labels.Of(t.event.Type)).Inc()
	}
	b.d.start(t)
}

func (b *Memory) finished(t *task) {
	b.d.metrics.inFlight.Dec()
	b.d.inFlight.add(-1)
	if t.done != nil {
		t.done()
	}
}

// Run implements Bus.
func (b *Memory) Run(ctx context.Context) error {
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
func (b *Memory) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.closing)
	}
	b.mu.Unlock()
	return b.d.drain(ctx)
}
