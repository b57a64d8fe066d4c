package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redroomrewards/realtime/bench/pgserver"
	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/bench/stack"
)

// bench holds what all runs share.
type bench struct {
	o        *options
	dir      string // for programs; deleted at the end
	core     string // program
	baseline string // program
	pg       *pgserver.Server
	redisURL string
	redis    *stack.Redis
	secret   stack.Secret
	id       string // begins all names of databases and namespaces of this benchmark
	pools    map[int]int
	env      report.Environment
}

func openBench(ctx context.Context, o *options, getenv func(string) string) (_ *bench, err error) {
	databaseURL, redisURL := getenv("TEST_DATABASE_URL"), getenv("TEST_REDIS_URL")
	if databaseURL == "" || redisURL == "" {
		return nil, errors.New("TEST_DATABASE_URL and TEST_REDIS_URL are not set: run scripts/bench ledger")
	}
	b := &bench{o: o, redisURL: redisURL, secret: stack.NewSecret(), id: newID(), pools: make(map[int]int)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "realtime-bench-"); err != nil {
		return nil, err
	}
	root, err := stack.Root(ctx)
	if err != nil {
		return nil, err
	}
	progress("building")
	if b.core, err = stack.Build(ctx, root, "cmd/core", b.dir); err != nil {
		return nil, err
	}
	if b.baseline, err = stack.Build(ctx, root, "bench/baseline", b.dir); err != nil {
		return nil, err
	}
	if b.pg, err = pgserver.Open(ctx, databaseURL); err != nil {
		return nil, err
	}
	if b.redis, err = stack.OpenRedis(ctx, redisURL); err != nil {
		return nil, err
	}
	settings, err := b.pg.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if !settings.Durable() {
		return nil, fmt.Errorf("Postgres must have fsync, synchronous_commit and full_page_writes on, and has %+v", settings) //nolint:revive // a name
	}
	b.env = report.NewEnvironment("ledger", os.Args[1:])
	b.env.Commit, b.env.Postgres, b.env.Redis = stack.Commit(ctx, root), settings.Version, b.redis.Version(ctx)
	progress("seeding %d accounts", o.accounts)
	return b, b.seed(ctx)
}

func newID() string {
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return "bench_" + hex.EncodeToString(id[:])
}

func (b *bench) template() string { return b.id + "_seed" }

// config is what the servers of a run get.
func (b *bench) config(database, namespace string) *stack.Config {
	return &stack.Config{
		DatabaseURL: b.pg.URL(database), RedisURL: b.redisURL, Namespace: b.id + "-" + namespace, Secret: b.secret,
	}
}

// close removes what the benchmark made.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the caller's may have ended
	defer cancel()
	var errs []error
	if b.pg != nil {
		errs = append(errs, b.pg.Drop(ctx, b.template()), b.pg.Close())
	}
	if b.redis != nil {
		errs = append(errs, b.redis.Delete(ctx, b.id), b.redis.Close())
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// measureAll runs all rounds.
func (b *bench) measureAll(ctx context.Context) (*outcome, error) {
	out := &outcome{Environment: b.env, Seconds: b.o.measure.Seconds(), Accounts: b.o.accounts, Pools: b.pools}
	for _, clients := range b.o.clients {
		if err := b.choosePool(ctx, clients); err != nil {
			return nil, err
		}
		for round := 1; round <= b.o.pairs; round++ {
			for _, s := range b.o.scenarios {
				r, err := b.measure(ctx, trial{scenario: s, clients: clients, round: round, warmup: b.o.warmup, measure: b.o.measure})
				if err != nil {
					return nil, fmt.Errorf("%s, %d clients, round %d: %w", s.name, clients, round, err)
				}
				progress("round %d, %d clients: %-12s %8s op/s, p50 %.1f ms, p99 %.1f ms", round, clients, s.name,
					report.Number(r.PerSecond), r.P50, r.P99)
				out.Results = append(out.Results, *r)
			}
		}
	}
	out.compare()
	return out, nil
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
		r, err := b.measure(ctx, trial{scenario: scenarios[0], clients: clients, pool: size, warmup: time.Second, measure: 3 * time.Second})
		if err != nil {
			return fmt.Errorf("baseline with %d connections: %w", size, err)
		}
		progress("%d clients: the baseline with %d connections does %s op/s", clients, size, report.Number(r.PerSecond))
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

// progress tells on stderr what goes on.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
