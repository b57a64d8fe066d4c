//go:build linux

package compare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/bench/feed"
	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/loadgen"
	"github.com/redroomrewards/realtime/bench/stack"
	"github.com/redroomrewards/realtime/internal/auth"
)

// Trial is the measurement of one server in one round.
type Trial struct {
	Clients int

	comparison *comparison
	kind       *kind
	round      int
	config     stack.Config
	server     *stack.Server
	generator  *loadgen.Generator
	endProfile func()
}

// runTrial measures one server in one round, and removes everything that the trial made.
func (c *comparison) runTrial(
	ctx context.Context, round int, server string, measure func(context.Context, *Trial) ([]Result, error),
) (_ []Result, err error) {
	t := &Trial{
		Clients:    c.options.Clients,
		comparison: c,
		round:      round,
		config:     *c.harness.Config(""),
		endProfile: func() {},
	}
	for i := range kinds {
		if kinds[i].name == server {
			t.kind = &kinds[i]
		}
	}

	c.runs++
	t.config.Namespace += fmt.Sprintf("_%d", c.runs)
	t.config.Processor = serverProcessor

	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		t.endProfile()
		if t.generator != nil {
			t.generator.Close()
		}
		if t.server != nil {
			err = errors.Join(err, t.server.Stop())
		}

		err = errors.Join(err, c.harness.Redis.Delete(cleaning, t.config.Namespace))
	}()

	results, err := measure(ctx, t)
	for i := range results {
		results[i].Round = round
		results[i].Server = server
	}

	return results, err
}

// Feed makes a feed of a number of accounts and publishes the first events of each account. Without
// a core, a client can subscribe only to an account that has an event.
func (t *Trial) Feed(ctx context.Context, accounts, eventsEach int) (*feed.Feed, error) {
	f := feed.New(t.comparison.harness.Redis, t.config.Namespace, accounts)
	err := f.Seed(ctx, eventsEach)
	if err != nil {
		return nil, fmt.Errorf("publish the first events: %w", err)
	}
	return f, nil
}

// Start starts the server and waits until it has read the streams.
func (t *Trial) Start(ctx context.Context) (err error) {
	program := t.comparison.programs[t.kind.name]
	if t.kind.isGateway {
		t.server, err = stack.StartGateway(ctx, program, &t.config, nil)
	} else {
		t.server, err = stack.StartRefserver(ctx, program, &t.config, t.kind.args...)
	}
	return err
}

// Connect opens all clients and spreads them over the accounts. The clients resume after the seq
// `after`; if it is negative, they get only new events. missed is the number of older events that
// each client then gets.
func (t *Trial) Connect(ctx context.Context, accounts []string, after int64, missed int) (*loadgen.Generator, error) {
	p := loadgen.Plan{Missed: missed, AtOnce: t.comparison.options.AtOnce}
	for i := range t.Clients {
		account := accounts[i%len(accounts)]
		subject := account
		var scopes []string
		if len(accounts) < t.Clients {
			// The gateway limits the connections of a subject, so several clients of an account
			// need different subjects.
			subject = fmt.Sprintf("client-%d", i)
			scopes = []string{auth.ScopeEvents}
		}

		raw, err := t.config.Secret.Token(subject, nil, scopes...)
		if err != nil {
			return nil, err
		}

		p.Clients = append(p.Clients, loadgen.Client{
			Account: account,
			Token:   raw,
			After:   after,
		})
	}

	var err error
	t.generator, err = loadgen.Open(ctx, t.server.Addr, t.kind.protocol, p)
	return t.generator, err
}

// Window measures CPU time from Begin to End.
type Window struct {
	trial  *Trial
	before harness.Usage
}

// Begin starts a window.
func (t *Trial) Begin(ctx context.Context) (*Window, error) {
	u, err := t.comparison.harness.ReadUsage(ctx, t.server)
	return &Window{trial: t, before: u}, err
}

// Used is the CPU time of a window.
type Used struct {
	Server time.Duration
	Wall   time.Duration

	// In per cent of one processor.
	ServerPercent    float64
	GeneratorPercent float64
	RedisPercent     float64

	othersPercent float64 // other processes, of all processors
}

// End ends the window.
func (w *Window) End(ctx context.Context) (Used, error) {
	after, err := w.trial.comparison.harness.ReadUsage(ctx, w.trial.server)
	if err != nil {
		return Used{}, err
	}

	d := after.Since(&w.before)
	wall := after.At.Sub(w.before.At)
	percent := func(used time.Duration) float64 { return 100 * used.Seconds() / wall.Seconds() }
	return Used{
		Server:           d.Servers,
		Wall:             wall,
		ServerPercent:    percent(d.Servers),
		GeneratorPercent: percent(d.Generator),
		RedisPercent:     percent(d.Redis),
		othersPercent:    after.OthersPercent(&w.before),
	}, nil
}

// Memory returns the bytes that the server's Go heap and stacks use after a collection, and the
// resident memory of the process.
func (t *Trial) Memory(ctx context.Context) (inUse, resident float64, err error) {
	err = t.server.CollectGarbage(ctx)
	if err != nil {
		return 0, 0, err
	}
	if dir := t.comparison.options.Profile; dir != "" {
		err := t.server.SaveProfile(ctx, "heap", filepath.Join(dir, t.kind.name+".heap"))
		if err != nil {
			return 0, 0, err
		}
	}

	m, err := t.server.Metrics(ctx)
	if err != nil {
		return 0, 0, err
	}

	inUse = m["go_memstats_heap_inuse_bytes"] + m["go_memstats_stack_inuse_bytes"]
	return inUse, m["process_resident_memory_bytes"], nil
}

// Driven is the result of a load.
type Driven struct {
	Used
	Events   int // published events
	P50, P99 time.Duration
}

// Drive puts the load on the server for the warm-up, and again for the measurement. The measurement
// ends when the last event has arrived at every client. publish returns the number of events that
// it published. Each event goes to clientsEach clients.
func (t *Trial) Drive(
	ctx context.Context, load string, warmup, measure time.Duration, clientsEach int,
	publish func(context.Context, time.Duration) (int, error),
) (d Driven, err error) {
	expected := t.generator.Events()
	run := func(duration time.Duration) error {
		n, err := publish(ctx, duration)
		if err != nil {
			return err
		}

		d.Events = n
		expected += int64(n) * int64(clientsEach)
		return t.generator.Await(ctx, expected, 10*time.Second)
	}
	err = run(warmup)
	if err != nil {
		return d, fmt.Errorf("%s: warm-up: %w", load, err)
	}

	waitForProfile := t.Profile(ctx, load, measure)
	latency := t.generator.Measure()
	w, err := t.Begin(ctx)
	if err != nil {
		return d, err
	}

	err = run(measure)
	if err != nil {
		return d, fmt.Errorf("%s: %w", load, err)
	}

	d.Used, err = w.End(ctx)
	if err != nil {
		return d, err
	}

	d.P50 = latency.Quantile(0.5)
	d.P99 = latency.Quantile(0.99)
	return d, waitForProfile()
}

// Profile starts a CPU profile of the server if the options ask for one. The function wait returns
// when the profile is written. The end of the trial cancels an unfinished profile.
func (t *Trial) Profile(ctx context.Context, load string, d time.Duration) (wait func() error) {
	dir := t.comparison.options.Profile
	if dir == "" {
		return func() error {
			return nil
		}
	}

	ctx, cancel := context.WithCancel(ctx)
	file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.cpu", t.kind.name, load, t.round))
	var g errgroup.Group
	g.Go(func() error {
		return t.server.SaveCPUProfile(ctx, d, file)
	})
	t.endProfile = func() {
		cancel()
		_ = g.Wait() // the error that ended the trial is reported instead
	}
	return func() error {
		defer cancel()
		return g.Wait()
	}
}
