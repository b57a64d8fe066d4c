package redisconn

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

// WatchConfig is a watch's optional settings.
type WatchConfig struct {
	Timeout time.Duration // of one look. Defaults to 2 s.
	Retry   time.Duration // between looks while Redis is away. Defaults to 1 s.
	Recheck time.Duration // between looks otherwise: Redis may be emptied, and others come first. Defaults to 10 s.
	// Returned is called, by Run, when Redis answers again after it did not.
	Returned func(context.Context)
	Logger   *slog.Logger // Defaults to slog.Default().
}

// A Watch checks that Redis answers and has the layout of this process. Nothing may be published or
// read before that is known: an account's events would go to another stream than its earlier ones.
type Watch struct {
	rdb  redis.UniversalClient
	keys bus.Keys
	cfg  WatchConfig

	known chan struct{} // closed once the layout was found to be ours
	once  sync.Once
}

// NewWatch returns a watch of the layout. It does nothing until it is asked.
func NewWatch(rdb redis.UniversalClient, keys bus.Keys, cfg WatchConfig) *Watch {
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Watch{rdb: rdb, keys: keys, cfg: cfg, known: make(chan struct{})}
}

// Known is closed once the layout was found to be ours.
func (w *Watch) Known() <-chan struct{} { return w.known }

// Check looks once: nil when Redis answers and its layout is ours.
func (w *Watch) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	err := CheckLayout(ctx, w.rdb, w.keys)
	if err == nil {
		w.once.Do(func() { close(w.known) })
	}
	return err
}

// Start looks once, before the process takes work. Redis being away is only
// logged: it is waited for. Another layout is an error.
func (w *Watch) Start(ctx context.Context) error {
	err := w.Check(ctx)
	switch {
	case err == nil:
	case errors.Is(err, bus.ErrLayout):
		return w.mismatch(err)
	default:
		w.cfg.Logger.Warn("redis cannot be reached; waiting for it", "err", err)
	}
	return nil
}

// Run looks again and again until ctx ends. Another layout found before ours was
// is an error; later ones are logged, since whoever brought them is the one who
// should not have started.
func (w *Watch) Run(ctx context.Context) error {
	away := !w.isKnown()
	for {
		wait := w.cfg.Recheck
		switch err := w.Check(ctx); {
		case ctx.Err() != nil:
		case err == nil:
			if away && w.cfg.Returned != nil {
				w.cfg.Returned(ctx)
			}
			away = false
		case !errors.Is(err, bus.ErrLayout):
			wait, away = w.cfg.Retry, true
		case w.isKnown():
			w.cfg.Logger.Error("another process uses another number of partitions", "namespace", w.keys.Namespace, "err", err)
		default:
			return w.mismatch(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (w *Watch) mismatch(err error) error {
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
