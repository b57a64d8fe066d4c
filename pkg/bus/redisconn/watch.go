package redisconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// WatchConfig is a watch's optional settings.
type WatchConfig struct {
	Timeout time.Duration // of one check. Defaults to 2 s.
	Retry   time.Duration // interval of checks while Redis is unavailable. Defaults to 1 s.
	Recheck time.Duration // interval of checks otherwise, since Redis may be emptied. Defaults to 10 s.
	// ReadOnly is for processes that publish nothing. They store no layout, so a namespace without
	// one is right for them.
	ReadOnly bool
	// Returned is called by Run when Redis is available again.
	Returned func(context.Context)
	Logger   *slog.Logger // Defaults to slog.Default().
}

// A Watch checks that Redis answers and has the layout of this process. Nothing may be published or
// read before that is known, since an account's events could go to another stream than its earlier
// ones.
type Watch struct {
	rdb  redis.UniversalClient
	keys bus.Keys
	cfg  WatchConfig

	known chan struct{} // closed when the layout was found to be the same
	once  sync.Once     // closes known
}

// NewWatch returns a watch of the layout. It does nothing until one of its methods is called.
func NewWatch(rdb redis.UniversalClient, keys bus.Keys, cfg WatchConfig) *Watch {
	cfg.Timeout = cmp.Or(cfg.Timeout, 2*time.Second)
	cfg.Retry = cmp.Or(cfg.Retry, time.Second)
	cfg.Recheck = cmp.Or(cfg.Recheck, 10*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())

	return &Watch{
		rdb:   rdb,
		keys:  keys,
		cfg:   cfg,
		known: make(chan struct{}),
	}
}

// Known returns a channel that is closed when the layout was found to be the same.
func (w *Watch) Known() <-chan struct{} { return w.known }

// Check checks once. It returns nil if Redis answers and has the same layout.
func (w *Watch) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()

	check := CheckLayout
	if w.cfg.ReadOnly {
		check = compareStoredLayout
	}

	err := check(ctx, w.rdb, w.keys)
	if err == nil {
		w.once.Do(func() { close(w.known) })
	}

	return err
}

// Start checks once, before the process accepts work. It returns an error only if the layout is
// another one. If Redis is unavailable, it logs this, and Run waits for Redis.
func (w *Watch) Start(ctx context.Context) error {
	err := w.Check(ctx)
	switch {
	case err == nil:
	case errors.Is(err, bus.ErrLayout):
		return w.wrapMismatch(err)
	default:
		w.cfg.Logger.Warn("Redis is not available; waiting for it", "error", err)
	}

	return nil
}

// Run checks until ctx ends. It returns an error if it finds another layout before it has found the
// same one. It only logs another layout that it finds later, since then the other process must be
// stopped.
func (w *Watch) Run(ctx context.Context) error {
	unavailable := !w.isKnown()
	for {
		interval := w.cfg.Recheck
		err := w.Check(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			if unavailable && w.cfg.Returned != nil {
				w.cfg.Returned(ctx)
			}

			unavailable = false
		case !errors.Is(err, bus.ErrLayout):
			interval = w.cfg.Retry
			unavailable = true
		case w.isKnown():
			w.cfg.Logger.Error("another process uses another layout of the partitions", "namespace", w.keys.Namespace, "error", err)
		default:
			return w.wrapMismatch(err)
		}

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

func (w *Watch) wrapMismatch(err error) error {
	return fmt.Errorf("--partitions %d: %w", w.keys.Partitions, err)
}

func (w *Watch) isKnown() bool {
	select {
	case <-w.known:
		return true
	default:
		return false
	}
}
