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

// Bus is a bus in the process, for tests. It handles events as soon as they are published; Run only
// waits. It ignores the fields Keys, Consumer, Partitions, FromNow, MaxLen, ClaimAfter and DoneTTL
// of Config.
type Bus struct {
	cfg bus.Config
	d   *dispatch.Dispatcher

	mu           sync.Mutex           // protects the rest, except closing
	seen         map[string]time.Time // when remembered ids and keys expire
	seenOrder    []string             // the names in seen, oldest first
	letters      []bus.DeadLetter     // oldest first
	lastLetterID int
	closed       bool

	closing chan struct{} // closed together with the bus
}

// Bounds of the memory. The oldest items are dropped first.
const (
	maxSeen    = 1 << 20 // ids and keys
	maxLetters = 1 << 16 // dead letters
)

var _ bus.Bus = (*Bus)(nil)

// New returns a bus in the process.
func New(cfg bus.Config) *Bus {
	cfg = cfg.WithDefaults()
	cfg.Group = cmp.Or(cfg.Group, "memory")
	b := &Bus{
		cfg:     cfg,
		d:       dispatch.New(cfg, metrics.NewBus(cfg.Registerer, cfg.Group)),
		seen:    map[string]time.Time{},
		closing: make(chan struct{}),
	}

	b.d.Finished = b.taskFinished
	b.d.SubscriberDone = func(*dispatch.Task, *dispatch.Subscriber) {}
	b.d.DeadLetter = b.addDeadLetter

	return b
}

// Subscribe implements Bus.
func (b *Bus) Subscribe(s bus.Subscription) (func(context.Context) error, error) {
	if !s.Since.IsZero() {
		return nil, fmt.Errorf("subscribe %s: Since must be zero on a bus in memory, which has no history", s.ID)
	}

	return b.d.Subscribe(s)
}

// Publish implements Bus.
func (b *Bus) Publish(ctx context.Context, events ...bus.Event) ([]bus.Status, error) {
	events, err := bus.ValidateEvents(events)
	if err != nil {
		return nil, err
	}
	return b.publishEvents(ctx, events)
}

// Deliver publishes deliveries of the ledger, as the relay does: with seq, and without the second
// party's delivery unless Config.Copies is set. It returns when Publish would.
func (b *Bus) Deliver(ctx context.Context, deliveries ...bus.Delivery) error {
	var events []bus.Event
	for i := range deliveries {
		d := &deliveries[i]
		if d.SecondParty && !b.cfg.Copies {
			continue
		}

		events = append(events, bus.Event{
			ID:          d.ID,
			Type:        d.Type,
			Account:     d.Account,
			Seq:         d.Seq,
			Amount:      d.Amount,
			Reason:      d.Reason,
			Feature:     d.Feature,
			Chain:       d.Chain,
			TraceParent: d.TraceParent,
			Data:        d.Data,
		})
	}

	_, err := b.publishEvents(ctx, events)
	return err
}

func (b *Bus) publishEvents(ctx context.Context, events []bus.Event) ([]bus.Status, error) {
	statuses := make([]bus.Status, len(events))
	var unhandled wait.Tally
	for i := range events {
		err := b.d.InFlight.Enter(ctx, b.cfg.MaxInFlight)
		if err != nil {
			return statuses, fmt.Errorf("publish event %d of %d with %d in flight: %w", i+1, len(events), b.cfg.MaxInFlight, err)
		}

		statuses[i], err = b.acceptEvent(&events[i])
		if statuses[i] != bus.Published {
			b.d.InFlight.Add(-1)
			if err != nil {
				return statuses, err
			}

			continue
		}

		t := &dispatch.Task{Event: events[i], Plan: b.d.PlanFor(events[i].Type)}
		if b.cfg.Synchronous {
			unhandled.Add(1)
			t.Owner = func() { unhandled.Add(-1) }
		}

		b.startTask(t)
	}

	err := unhandled.WaitZero(ctx)
	if err != nil {
		return statuses, fmt.Errorf("wait for handlers: %w", err)
	}

	return statuses, nil
}

// acceptEvent returns Published for a new event and Duplicate for a known one.
func (b *Bus) acceptEvent(e *bus.Event) (bus.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()

	if b.closed {
		return bus.Unknown, fmt.Errorf("publish: %w", bus.ErrClosed)
	}

	m := b.d.Metrics
	if !b.cfg.AllowDuplicates && b.isDuplicate(e) {
		m.Duplicate.WithLabelValues(m.TypeLabel(e.Type)).Inc()
		return bus.Duplicate, nil
	}

	m.Published.WithLabelValues(m.TypeLabel(e.Type)).Inc()
	return bus.Published, nil
}

// isDuplicate reports whether an event with the same id or key is known. It remembers a new event.
// b.mu is held.
func (b *Bus) isDuplicate(e *bus.Event) bool {
	now := time.Now()
	b.forgetExpired(now)
	id := "id:" + e.ID
	if e.Seq > 0 { // both parties' deliveries of a ledger event have the same id
		id += " " + e.Account
	}

	_, sameID := b.seen[id]
	_, sameKey := b.seen["key:"+e.Key]
	if sameID || (e.Key != "" && sameKey) {
		return true
	}

	b.rememberName(id, now)
	if e.Key != "" {
		b.rememberName("key:"+e.Key, now)
	}

	return false
}

func (b *Bus) rememberName(name string, now time.Time) {
	b.seen[name] = now.Add(b.cfg.DedupTTL)
	b.seenOrder = append(b.seenOrder, name)
}

func (b *Bus) forgetExpired(now time.Time) {
	for len(b.seenOrder) > 0 {
		oldest := b.seenOrder[0]
		if len(b.seenOrder) <= maxSeen && now.Before(b.seen[oldest]) {
			return
		}

		delete(b.seen, oldest)
		b.seenOrder = b.seenOrder[1:]
	}
}

func (b *Bus) startTask(t *dispatch.Task) {
	m := b.d.Metrics
	m.InFlight.Inc()
	if len(t.Plan) == 0 {
		m.NoSubscribers.WithLabelValues(m.TypeLabel(t.Event.Type)).Inc()
	}

	b.d.Start(t)
}

func (b *Bus) taskFinished(t *dispatch.Task) {
	b.d.Metrics.InFlight.Dec()
	b.d.InFlight.Add(-1)
	done, ok := t.Owner.(func())
	if ok {
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

	err := b.Close(ctx)
	if err != nil {
		b.cfg.Logger.Warn("the bus stopped before all events were handled", "error", err)
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
