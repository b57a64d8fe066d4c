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
	accounts int
	clients  int
	round    int
	pool     int // connections of the baseline; 0: the best number for these clients
	warmup   time.Duration
	measure  time.Duration
}

// measureTrial starts a server on a fresh database, puts the load on it, and checks the ledger.
func (b *bench) measureTrial(ctx context.Context, r trial) (_ *result, err error) {
	c, err := b.openDatabase(ctx, r.accounts)
	if err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.closeDatabase(cleaning, r.accounts),
			b.Redis.Delete(cleaning, c.Namespace))
	}()

	l := &load{
		clients:  r.clients,
		accounts: r.accounts,
		kind:     r.load,
		keys:     fmt.Sprintf("%x-%d", time.Now().UnixMilli(), r.round),
	}
	published := r.server != "baseline"
	before, err := b.prepareDatabase(ctx, c, l, published)
	if err != nil {
		return nil, err
	}

	server, err := b.startServer(ctx, &r, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	raw, err := b.Secret.Token("bench", nil, auth.ScopeHold, auth.ScopeSettle)
	if err != nil {
		return nil, err
	}

	err = b.Postgres.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}

	l.addr = server.Addr
	l.token = raw
	res, err := b.driveLoad(ctx, &r, server, l)
	if err != nil {
		return nil, err
	}

	err = l.failureError()
	if err != nil {
		return nil, err
	}

	drained, err := b.verifyLedger(ctx, c, l, before, published)
	if err != nil {
		return nil, err
	}

	res.DrainMillis = float64(drained.Milliseconds())
	return res, nil
}

func (b *bench) startServer(ctx context.Context, r *trial, c *stack.Config) (*stack.Server, error) {
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

// driveLoad puts the load on the server: first the warm-up, then the window that counts.
func (b *bench) driveLoad(ctx context.Context, r *trial, server *stack.Server, l *load) (*result, error) {
	loading, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.runClients(loading)
	}()
	defer func() {
		stop()
		<-ended
	}()

	profiling, cancel := context.WithCancel(ctx)
	var profiles errgroup.Group
	defer func() {
		cancel()
		_ = profiles.Wait() // without another error, driveLoad returns the error of Wait below
	}()

	err := waitForLoad(ctx, r.warmup, ended)
	if err != nil {
		return nil, err
	}

	before, err := b.readCounters(ctx, server)
	if err != nil {
		return nil, err
	}
	if prefix := b.o.profile; prefix != "" && r.server == "core" {
		b.o.profile = "" // only the first run of the core has profiles
		profiles.Go(func() error {
			return saveProfiles(profiling, server, r.measure, prefix)
		})
	}

	window := new(histogram.Histogram)
	begin := time.Now()
	l.window.Store(window)
	err = waitForLoad(ctx, r.measure, ended)
	if err != nil {
		return nil, errors.Join(err, l.failureError())
	}

	l.window.Store(nil)
	took := time.Since(begin)
	after, err := b.readCounters(ctx, server)
	if err != nil {
		return nil, err
	}

	err = profiles.Wait()
	if err != nil {
		return nil, err
	}
	return newResult(r, window, took, before, after), nil
}

// saveProfiles saves a CPU profile and then an allocation profile of a server during its
// measurement.
func saveProfiles(ctx context.Context, server *stack.Server, d time.Duration, prefix string) error {
	err := server.SaveCPUProfile(ctx, d-time.Second, prefix+".cpu")
	if err != nil {
		return err
	}
	return server.SaveProfile(ctx, "allocs", prefix+".allocs")
}

// waitForLoad waits for the time d. It returns an error if the load ends before, because all
// clients have failed.
func waitForLoad(ctx context.Context, d time.Duration, ended <-chan struct{}) error {
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

// counters are the values that are read before and after a window.
type counters struct {
	usage   harness.Usage
	wal     int64
	metrics stack.Metrics
}

func (b *bench) readCounters(ctx context.Context, server *stack.Server) (*counters, error) {
	c := new(counters)
	var err error
	c.usage, err = b.ReadUsage(ctx, server)
	if err != nil {
		return nil, err
	}

	c.wal, err = b.Postgres.WAL(ctx)
	if err != nil {
		return nil, err
	}

	c.metrics, err = server.Metrics(ctx)
	return c, err
}
