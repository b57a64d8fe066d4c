package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/histogram"
	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/auth"
)

// trial is one measurement.
type trial struct {
	scenario
	accounts        int
	clients, round  int
	pool            int // 0: the one chosen for so many clients
	warmup, measure time.Duration
}

// measure starts a server on a fresh database, loads it, and checks the ledger.
func (b *bench) measure(ctx context.Context, r trial) (_ *result, err error) {
	c, err := b.database(ctx, r.accounts)
	if err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.leave(cleaning, r.accounts), b.Redis.Delete(cleaning, c.Namespace))
	}()
	l := &load{clients: r.clients, accounts: r.accounts, kind: r.load, keys: fmt.Sprintf("%x-%d", time.Now().UnixMilli(), r.round)}
	published := r.server != "baseline"
	before, err := b.prepare(ctx, c, l, published)
	if err != nil {
		return nil, err
	}
	server, err := b.start(ctx, &r, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	raw, err := b.Secret.Token("bench", nil, auth.ScopeHold, auth.ScopeSettle)
	if err != nil {
		return nil, err
	}
	if err := b.Postgres.Checkpoint(ctx); err != nil {
		return nil, err
	}

	l.addr, l.token = server.Addr, raw
	res, err := b.drive(ctx, &r, server, l)
	if err != nil {
		return nil, err
	}
	if err := l.failure(); err != nil {
		return nil, err
	}
	drained, err := b.verify(ctx, c, l, before, published)
	if err != nil {
		return nil, err
	}
	res.DrainMillis = float64(drained.Milliseconds())
	return res, nil
}

func (b *bench) start(ctx context.Context, r *trial, c *stack.Config) (*stack.Server, error) {
	switch r.server {
	case "core":
		return stack.StartCore(ctx, b.core, c)
	case "other":
		return stack.StartCore(ctx, b.o.other, c)
	}
	pool := r.pool
	if pool == 0 {
		pool = b.pools[r.clients]
	}
	return stack.StartBaseline(ctx, b.baseline, c, pool)
}

// drive loads the server: a warm-up, then the window that counts.
func (b *bench) drive(ctx context.Context, r *trial, server *stack.Server, l *load) (*result, error) {
	loading, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(loading)
	}()
	defer func() {
		stop()
		<-ended
	}()
	profiling, cancel := context.WithCancel(ctx)
	var profiles errgroup.Group
	defer func() {
		cancel()
		_ = profiles.Wait() // when nothing else failed, its error is returned below
	}()
	if err := pause(ctx, r.warmup, ended); err != nil {
		return nil, err
	}
	before, err := b.read(ctx, server)
	if err != nil {
		return nil, err
	}
	if prefix := b.o.profile; prefix != "" && r.server == "core" {
		b.o.profile = "" // of the first run only
		profiles.Go(func() error { return saveProfiles(profiling, server, r.measure, prefix) })
	}
	window := new(histogram.Histogram)
	begin := time.Now()
	l.window.Store(window)
	if err := pause(ctx, r.measure, ended); err != nil {
		return nil, errors.Join(err, l.failure())
	}
	l.window.Store(nil)
	took := time.Since(begin)
	after, err := b.read(ctx, server)
	if err != nil {
		return nil, err
	}
	if err := profiles.Wait(); err != nil {
		return nil, err
	}
	return newResult(r, window, took, before, after), nil
}

// saveProfiles takes a CPU profile and then an allocation profile of a server
// while it is measured.
func saveProfiles(ctx context.Context, server *stack.Server, d time.Duration, prefix string) error {
	if err := server.SaveCPUProfile(ctx, d-time.Second, prefix+".cpu"); err != nil {
		return err
	}
	return server.SaveProfile(ctx, "allocs", prefix+".allocs")
}

// pause waits, unless the load ends by itself, which it does only when all
// clients have failed.
func pause(ctx context.Context, d time.Duration, ended <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ended:
		return errors.New("all clients have failed")
	case <-timer.C:
		return nil
	}
}

// counters are what is read before and after a window.
type counters struct {
	usage   harness.Usage
	wal     int64
	metrics stack.Metrics
}

func (b *bench) read(ctx context.Context, server *stack.Server) (*counters, error) {
	c := new(counters)
	var err error
	if c.usage, err = b.ReadUsage(ctx, server); err != nil {
		return nil, err
	}
	if c.wal, err = b.Postgres.WAL(ctx); err != nil {
		return nil, err
	}
	c.metrics, err = server.Metrics(ctx)
	return c, err
}
