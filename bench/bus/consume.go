package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

// The consuming variants, in the order of their trials.
const (
	bareRead = "XREADGROUP and XACK"
	bus1     = "bus, 1 subscription"
	bus4     = "bus, 4 subscriptions"
	retry1   = "bus, 1 subscription, fails at first"
	retry4   = "bus, 4 subscriptions, one fails at first"
)

func consuming() []variant {
	return []variant{
		{bareRead, consumeBare},
		{bus1, consumeBus(1, false)},
		{bus4, consumeBus(4, false)},
		{retry1, consumeBus(1, true)},
		{retry4, consumeBus(4, true)},
	}
}

func variantNamed(name string) *variant {
	for _, v := range append(publishing(), consuming()...) {
		if v.name == name {
			return &v
		}
	}
	return nil
}

const (
	group      = "g"
	firstDelay = 20 * time.Millisecond // at most, before the second attempt; the default would only make the trial long
)

// fill publishes what is to be consumed.
func (t *trial) fill(ctx context.Context) error {
	return t.publish(ctx, bus.Config{AllowDuplicates: true}, t.makeEvents(false), bus.Published)
}

func consumeBare(ctx context.Context, t *trial, measure func(func() error) error) error {
	if err := t.fill(ctx); err != nil {
		return err
	}
	args := redis.XReadGroupArgs{Group: group, Consumer: "c", Count: 1000, Block: time.Second}
	for p := range t.keys.Partitions {
		if err := t.rdb.XGroupCreateMkStream(ctx, t.keys.Stream(p), group, "0").Err(); err != nil {
			return err
		}
		args.Streams = append(args.Streams, t.keys.Stream(p))
	}
	for range t.keys.Partitions {
		args.Streams = append(args.Streams, ">")
	}
	return measure(func() error {
		for n := 0; n < t.Events; {
			streams, err := t.rdb.XReadGroup(ctx, &args).Result()
			if err != nil {
				return err
			}
			pipe := t.rdb.Pipeline()
			for _, s := range streams {
				ids := make([]string, len(s.Messages))
				for i, m := range s.Messages {
					ids[i] = m.ID
				}
				n += len(ids)
				pipe.XAck(ctx, s.Stream, group, ids...)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
		return t.checkAcked(ctx)
	})
}

// consumeBus consumes with so many subscriptions that do nothing. The first one may
// fail at each event's first attempt.
func consumeBus(subscriptions int, failing bool) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		if err := t.fill(ctx); err != nil {
			return err
		}
		b, err := consumer.New(t.rdb, bus.Config{
			Group: group, Keys: t.keys, FirstDelay: firstDelay, PauseAfter: -1, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		h := newHandlers(t.Events, subscriptions)
		for i := range subscriptions {
			handler := h.nothing
			if failing && i == 0 {
				handler = h.failsFirst
			}
			if _, err := b.Subscribe(bus.Subscription{ID: fmt.Sprint("s", i), Handler: bus.HandlerFunc(handler)}); err != nil {
				return err
			}
		}
		return measure(func() error {
			ran := make(chan error, 1)
			go func() { ran <- b.Run(ctx) }()
			select {
			case <-h.done:
			case <-ctx.Done():
			case err := <-ran: // by itself, so it failed
				ran <- err
			}
			if err := errors.Join(ctx.Err(), b.Close(ctx), <-ran); err != nil {
				return err
			}
			return t.checkAcked(ctx)
		})
	}
}

// handlers count successful calls.
type handlers struct {
	left   atomic.Int64
	done   chan struct{}
	failed []atomic.Bool // whether the first attempt of an event was
}

func newHandlers(events, subscriptions int) *handlers {
	h := &handlers{done: make(chan struct{}), failed: make([]atomic.Bool, events)}
	h.left.Store(int64(events * subscriptions))
	return h
}

func (h *handlers) nothing(context.Context, *bus.Event) error {
	if h.left.Add(-1) == 0 {
		close(h.done)
	}
	return nil
}

var errFirst = errors.New("the first attempt fails")

func (h *handlers) failsFirst(ctx context.Context, e *bus.Event) error {
	i, err := eventNumber(e.ID)
	if err != nil {
		return bus.Permanent(err)
	}
	if h.failed[i].CompareAndSwap(false, true) {
		return errFirst
	}
	return h.nothing(ctx, e)
}

// checkAcked looks that nothing is left to do.
func (t *trial) checkAcked(ctx context.Context) error {
	for p := range t.keys.Partitions {
		pending, err := t.rdb.XPending(ctx, t.keys.Stream(p), group).Result()
		if err != nil {
			return err
		}
		if pending.Count > 0 {
			return fmt.Errorf("%d events of partition %d are not acknowledged", pending.Count, p)
		}
		dead, err := t.rdb.XLen(ctx, t.keys.Dead(p, group)).Result()
		if err != nil {
			return err
		}
		if dead > 0 {
			return fmt.Errorf("%d events of partition %d are dead letters", dead, p)
		}
	}
	return nil
}
