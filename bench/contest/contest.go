//go:build linux

// Package contest measures gateways and what stands beside them under the same
// load: the server alone on processor 0, the load generator and Redis on processor
// 1, one server at a time, in turn, round after round. There is no core: the streams
// are filled through the publisher of pkg/bus.
package contest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/redroomrewards/realtime/bench/fleet"
	"github.com/redroomrewards/realtime/bench/lab"
)

// What runs where.
const (
	serverProcessor = "0"
	loadProcessor   = "1"
)

// kind is a server that can take part.
type kind struct {
	name    string
	path    string // of its program
	args    []string
	dialect fleet.Dialect
}

var kinds = []kind{
	{"gateway", "cmd/gateway", nil, fleet.Wallet{}},
	{"centrifuge", "bench/centrifuge", nil, fleet.Centrifuge{}},
	{"centrifuge-10ms", "bench/centrifuge", []string{"--write-delay=10ms"}, fleet.Centrifuge{}},
	{"floor", "bench/floor", nil, fleet.Wallet{}},
}

func names() []string {
	list := make([]string, len(kinds))
	for i := range kinds {
		list[i] = kinds[i].name
	}
	return list
}

// contest is one benchmark's surroundings.
type contest struct {
	lab      *lab.Lab
	options  *Options
	programs map[string]string // by path
	runs     int
}

// Run opens the lab, has each server measured in each round, and writes the
// outcome. measure returns what it found under each of its loads.
func Run(ctx context.Context, name string, args []string, getenv func(string) string, o *Options, out *Outcome,
	measure func(context.Context, *Turn) ([]Result, error),
) error {
	if err := o.check(); err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("this needs two processors: one for the server, one for the load")
	}
	l, err := lab.Open(ctx, name, args, getenv)
	if err != nil {
		return err
	}
	c := &contest{lab: l, options: o, programs: map[string]string{}}
	out.name, out.Environment, out.Rounds, out.Clients = name, l.Environment, o.Rounds, o.Clients
	err = c.run(ctx, out, measure)
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	return out.write(o.Output)
}

func (c *contest) run(ctx context.Context, out *Outcome, measure func(context.Context, *Turn) ([]Result, error)) error {
	lab.Progress("building")
	for i := range kinds {
		path := kinds[i].path
		if _, built := c.programs[path]; built || !slices.Contains(c.options.Servers, kinds[i].name) {
			continue
		}
		program, err := c.lab.Build(ctx, path)
		if err != nil {
			return err
		}
		c.programs[path] = program
	}
	if err := c.pin(ctx); err != nil {
		return err
	}
	for round := 1; round <= c.options.Rounds; round++ {
		for _, server := range c.options.Servers {
			var results []Result
			err := c.options.Quiet.Do(ctx, c.lab, func() (others float64, err error) {
				results, err = c.turn(ctx, round, server, measure)
				for i := range results {
					others = max(others, results[i].others)
				}
				return others, err
			})
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round, server, err)
			}
			for i := range results {
				lab.Progress("round %d: %s", round, out.line(&results[i]))
			}
			out.Results = append(out.Results, results...)
		}
	}
	out.Repeated = c.options.Quiet.Repeated
	return nil
}

// pin puts this process and Redis on their processor. Go knows how many there
// are from before.
func (c *contest) pin(ctx context.Context) error {
	debug.SetGCPercent(1000) // our own collections, beside Redis, would be measured as latency of the servers
	runtime.GOMAXPROCS(4)    // a thread that waits in epoll must not keep the others from running
	pids := []int{os.Getpid()}
	if pid := c.lab.Redis.PID(ctx); pid > 0 {
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		out, err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", loadProcessor, strconv.Itoa(pid)).CombinedOutput() //nolint:gosec // numbers
		if err != nil {
			return fmt.Errorf("pin process %d with taskset (of util-linux): %w\n%s", pid, err, out)
		}
	}
	return nil
}
