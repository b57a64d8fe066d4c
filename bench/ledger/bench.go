package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/bench/stack"
)

// bench is the state that all measurements share.
type bench struct {
	*harness.Harness
	o        *options
	core     string      // program
	baseline string      // program
	pools    map[int]int // connections of the baseline, by number of clients
}

// openBench compiles the servers and seeds the databases.
func openBench(ctx context.Context, h *harness.Harness, o *options) (*bench, error) {
	b := &bench{
		Harness: h,
		o:       o,
		pools:   make(map[int]int),
	}
	harness.Progress("building")
	var err error
	b.core, err = h.Build(ctx, "cmd/core")
	if err != nil {
		return nil, err
	}

	b.baseline, err = h.Build(ctx, "bench/baseline")
	if err != nil {
		return nil, err
	}
	if o.other != "" {
		b.Environment.Other, err = stack.ProgramCommit(o.other)
		if err != nil {
			return nil, err
		}
	}

	for _, n := range o.accounts {
		harness.Progress("seeding %d accounts", n)
		err := b.seedAccounts(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("seed accounts: %w", err)
		}
	}

	return b, nil
}

// measureAll measures all rounds.
func (b *bench) measureAll(ctx context.Context) (*outcome, error) {
	out := &outcome{
		Environment: b.Environment,
		Seconds:     b.o.measure.Seconds(),
		Accounts:    b.o.accounts,
		Pools:       b.pools,
	}
	for _, clients := range b.o.clients {
		err := b.choosePool(ctx, clients)
		if err != nil {
			return nil, err
		}

		for round := 1; round <= b.o.pairs; round++ {
			err := b.measureRound(ctx, clients, round, out)
			if err != nil {
				return nil, err
			}
		}
	}

	out.Repeated = b.o.quiet.Repeated
	out.addRatios()
	return out, nil
}

// measureRound measures each scenario with each number of accounts.
func (b *bench) measureRound(ctx context.Context, clients, round int, out *outcome) error {
	for _, s := range b.o.scenarios {
		if s.load.batch*clients > coreQueue {
			continue // the core would refuse operations because its queue is full
		}

		for _, accounts := range b.o.accounts {
			r, err := b.measureQuietly(ctx, trial{
				scenario: s,
				accounts: accounts,
				clients:  clients,
				round:    round,
				warmup:   b.o.warmup,
				measure:  b.o.measure,
			})
			if err != nil {
				return fmt.Errorf("%s, %d accounts, %d clients, round %d: %w",
					s.name, accounts, clients, round, err)
			}

			harness.Progress("round %d, %d clients: %-12s %8s op/s, p50 %.1f ms, p99 %.1f ms, %d accounts",
				round, clients, s.name, report.Number(r.PerSecond), r.P50, r.P99, accounts)
			out.Results = append(out.Results, *r)
		}
	}

	return nil
}

func (b *bench) measureQuietly(ctx context.Context, t trial) (r *result, err error) {
	err = b.o.quiet.Do(ctx, b.Harness, func() (others float64, err error) {
		r, err = b.measureTrial(ctx, t)
		if err != nil {
			return 0, err
		}
		return r.OthersPercent, nil
	})
	return r, err
}

// choosePool finds the number of database connections with which the baseline is fastest.
func (b *bench) choosePool(ctx context.Context, clients int) error {
	b.pools[clients] = b.o.pool
	if b.o.pool != 0 || !b.needsBaseline() {
		return nil
	}

	best := 0.0
	for _, size := range poolSizes {
		r, err := b.measureTrial(ctx, trial{
			scenario: scenarios[0],
			accounts: b.o.accounts[0],
			clients:  clients,
			pool:     size,
			warmup:   time.Second,
			measure:  3 * time.Second,
		})
		if err != nil {
			return fmt.Errorf("baseline with %d connections: %w", size, err)
		}

		harness.Progress("%d clients: baseline with %d connections: %s op/s",
			clients, size, report.Number(r.PerSecond))
		if r.PerSecond > best {
			best = r.PerSecond
			b.pools[clients] = size
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
