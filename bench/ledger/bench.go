package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/bench/stack"
)

// bench holds what all measurements share.
type bench struct {
	*harness.Harness
	o        *options
	core     string // program
	baseline string // program
	pools    map[int]int
}

func openBench(ctx context.Context, h *harness.Harness, o *options) (*bench, error) {
	b := &bench{Harness: h, o: o, pools: make(map[int]int)}
	harness.Progress("building")
	var err error
	if b.core, err = h.Build(ctx, "cmd/core"); err != nil {
		return nil, err
	}
	if b.baseline, err = h.Build(ctx, "bench/baseline"); err != nil {
		return nil, err
	}
	if o.other != "" {
		if b.Environment.Other, err = stack.ProgramCommit(o.other); err != nil {
			return nil, err
		}
	}
	for _, n := range o.accounts {
		harness.Progress("seeding %d accounts", n)
		if err := b.seed(ctx, n); err != nil {
			return nil, fmt.Errorf("seed: %w", err)
		}
	}
	return b, nil
}

// measureAll runs all rounds.
func (b *bench) measureAll(ctx context.Context) (*outcome, error) {
	out := &outcome{Environment: b.Environment, Seconds: b.o.measure.Seconds(), Accounts: b.o.accounts, Pools: b.pools}
	for _, clients := range b.o.clients {
		if err := b.choosePool(ctx, clients); err != nil {
			return nil, err
		}
		for round := 1; round <= b.o.pairs; round++ {
			for _, s := range b.o.scenarios {
				if s.load.batch*clients > coreQueue {
					continue // it would be told that the queue is full
				}
				for _, accounts := range b.o.accounts {
					r, err := b.measureQuietly(ctx, trial{scenario: s, accounts: accounts, clients: clients, round: round, warmup: b.o.warmup, measure: b.o.measure})
					if err != nil {
						return nil, fmt.Errorf("%s, %d accounts, %d clients, round %d: %w", s.name, accounts, clients, round, err)
					}
					harness.Progress("round %d, %d clients: %-12s %8s op/s, p50 %.1f ms, p99 %.1f ms, %d accounts", round, clients, s.name,
						report.Number(r.PerSecond), r.P50, r.P99, accounts)
					out.Results = append(out.Results, *r)
				}
			}
		}
	}
	out.Repeated = b.o.quiet.Repeated
	out.compare()
	return out, nil
}

func (b *bench) measureQuietly(ctx context.Context, t trial) (r *result, err error) {
	err = b.o.quiet.Do(ctx, b.Harness, func() (others float64, err error) {
		if r, err = b.measure(ctx, t); err != nil {
			return 0, err
		}
		return r.OthersPercent, nil
	})
	return r, err
}

// choosePool finds the number of database connections that the baseline is best
// with.
func (b *bench) choosePool(ctx context.Context, clients int) error {
	b.pools[clients] = b.o.pool
	if b.o.pool != 0 || !b.needsBaseline() {
		return nil
	}
	best := 0.0
	for _, size := range poolSizes {
		r, err := b.measure(ctx, trial{scenario: scenarios[0], accounts: b.o.accounts[0], clients: clients, pool: size, warmup: time.Second, measure: 3 * time.Second})
		if err != nil {
			return fmt.Errorf("baseline with %d connections: %w", size, err)
		}
		harness.Progress("%d clients: the baseline with %d connections does %s op/s", clients, size, report.Number(r.PerSecond))
		if r.PerSecond > best {
			best, b.pools[clients] = r.PerSecond, size
		}
	}
	return nil
}

func (b *bench) needsBaseline() bool {
	for _, s := range b.o.scenarios {
		if s.server == "baseline" {
			return true
		}
	}
	return false
}
