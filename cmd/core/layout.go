package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// layout keeps watch that Redis spreads accounts over as many streams as we do.
// Nothing is published before that is known.
type layout struct {
	rdb  redis.UniversalClient
	keys bus.Keys
	log  *slog.Logger

	known chan struct{} // closed once the layout was found to be ours
	once  sync.Once
}

const (
	layoutTimeout = 2 * time.Second
	layoutRetry   = time.Second
	layoutRecheck = 10 * time.Second // Redis may be emptied, and others come first
)

func newLayout(rdb redis.UniversalClient, keys bus.Keys, log *slog.Logger) *layout {
	return &layout{rdb: rdb, keys: keys, log: log, known: make(chan struct{})}
}

// start looks once. Redis being away is no reason not to start: commits go on
// and their events wait. Another layout is one.
func (l *layout) start(ctx context.Context) error {
	err := l.check(ctx)
	switch {
	case err == nil:
	case errors.Is(err, bus.ErrLayout):
		return fmt.Errorf("--partitions %d: %w", l.keys.Partitions, err)
	default:
		l.log.Warn("redis cannot be reached: operations are committed, their events wait in the outbox", "err", err)
	}
	return nil
}

func (l *layout) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, layoutTimeout)
	defer cancel()
	err := bus.CheckLayout(ctx, l.rdb, l.keys)
	if err == nil {
		l.once.Do(func() { close(l.known) })
	}
	return err
}

// run looks again and again until ctx ends. Another layout found before ours was
// is an error; later ones are logged, since whoever brought them is the one who
// should not have started.
func (l *layout) run(ctx context.Context) error {
	for {
		wait := layoutRecheck
		switch err := l.check(ctx); {
		case err == nil || ctx.Err() != nil:
		case !errors.Is(err, bus.ErrLayout):
			wait = layoutRetry
		case l.isKnown():
			l.log.Error("another process uses another number of partitions", "namespace", l.keys.Namespace, "err", err)
		default:
			return fmt.Errorf("--partitions %d: %w", l.keys.Partitions, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (l *layout) isKnown() bool {
	select {
	case <-l.known:
		return true
	default:
		return false
	}
}
