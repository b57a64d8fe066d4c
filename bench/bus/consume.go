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

func consumeVariants() []variant {
	return []variant{
		{bareRead, consumeBare},
		{bus1, consumeBus(1, false)},
		{bus4, consumeBus(4, false)},
		{retry1, consumeBus(1, true)},
		{retry4, consumeBus(4, true)},
	}
}

// findVariant returns nil if there is no variant with this name.
func findVariant(name string) *variant {
	for _, v := range append(publishVariants(), consumeVariants()...) {
		if v.name == name {
			return &v
		}
	}

	return nil
}

const (
	group = "g"
	// firstDelay is the longest delay before the second attempt. A longer delay would only make the
	// trial longer.
	firstDelay = 20 * time.Millisecond
)

// fillStreams publishes the events that the trial consumes.
func (t *trial) fillStreams(ctx context.Context) error {
	cfg := bus.Config{AllowDuplicates: true}
	return t.publishEvents(ctx, cfg, t.makeEvents(false), bus.Published)
}

// consumeBare consumes without the bus.
func consumeBare(ctx context.Context, t *trial, measure func(func() error) error) error {
	err := t.fillStreams(ctx)
	if err != nil {
		return err
	}

	args := redis.XReadGroupArgs{
		Group:    group,
		Consumer: "c",
		Count:    1000,
		Block:    time.Second,
	}
	for p := range t.keys.Partitions {
		err := t.rdb.XGroupCreateMkStream(ctx, t.keys.Stream(p), group, "0").Err()
		if err != nil {
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

			_, err = pipe.Exec(ctx)
			if err != nil {
				return err
			}
		}

		return t.checkAcked(ctx)
	})
}

// consumeBus consumes with a number of subscriptions whose handlers do nothing. If firstFails is
// true, the handler of the first subscription fails at the first attempt of each event.
func consumeBus(subscriptions int, firstFails bool) work {
	return func(ctx context.Context, t *trial, measure func(func() error) error) error {
		err := t.fillStreams(ctx)
		if err != nil {
			return err
		}

		b, err := consumer.New(t.rdb, bus.Config{
			Group:      group,
			Keys:       t.keys,
			FirstDelay: firstDelay,
			PauseAfter: -1,
			Logger:     slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}

		h := newHandlers(t.Events, subscriptions)
		for i := range subscriptions {
			handler := h.countCall
			if firstFails && i == 0 {
				handler = h.failFirstCall
			}

			_, err := b.Subscribe(bus.Subscription{ID: fmt.Sprint("s", i), Handler: bus.HandlerFunc(handler)})
			if err != nil {
				return err
			}
		}

		return measure(func() error {
			done := make(chan error, 1)
			go func() { done <- b.Run(ctx) }()
			select {
			case <-h.done:
			case <-ctx.Done():
			case err := <-done: // the bus has failed
				done <- err
			}

			err := errors.Join(ctx.Err(), b.Close(ctx), <-done)
			if err != nil {
				return err
			}
			return t.checkAcked(ctx)
		})
	}
}

// handlers count successful calls.
type handlers struct {
	remaining atomic.Int64
	done      chan struct{}
	failed    []atomic.Bool // by event: its first attempt has failed
}

func newHandlers(events, subscriptions int) *handlers {
	h := &handlers{
		done:   make(chan struct{}),
		failed: make([]atomic.Bool, events),
	}
	h.remaining.Store(int64(events * subscriptions))
	return h
}

func (h *handlers) countCall(context.Context, *bus.Event) error {
	if h.remaining.Add(-1) == 0 {
		close(h.done)
	}
	return nil
}

var errFirstAttempt = errors.New("the first attempt fails")

func (h *handlers) failFirstCall(ctx context.Context, e *bus.Event) error {
	i, err := eventNumber(e.ID)
	if err != nil {
		return bus.Permanent(err)
	}
	if h.failed[i].CompareAndSwap(false, true) {
		return errFirstAttempt
	}
	return h.countCall(ctx, e)
}

// checkAcked returns an error if an event is not acknowledged or is a dead letter.
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
