//go:build linux

// Package compare measures gateways and comparable servers under the same load. The server has
// processor 0 to itself; the load generator and Redis share processor 1. One server runs at a time.
// In each round every server is measured once. There is no core: the benchmark fills the streams
// through the publisher of pkg/bus.
package compare

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

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/loadgen"
	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/bench/stack"
)

// Processors, as taskset numbers them.
const (
	serverProcessor = "0"
	loadProcessor   = "1"
)

// kind describes a server that can be measured.
type kind struct {
	name      string
	path      string // source directory of its program; empty: --other names the program
	args      []string
	protocol  loadgen.ClientProtocol
	isGateway bool
}

// Names of the gateway and of the other build of it.
const (
	gateway      = "gateway"
	gatewayOther = "gateway-other"
)

var kinds = []kind{
	{name: gateway, path: "cmd/gateway", protocol: loadgen.Wallet{}, isGateway: true},
	{name: gatewayOther, protocol: loadgen.Wallet{}, isGateway: true},
	{name: "centrifuge", path: "bench/centrifuge", protocol: loadgen.Centrifuge{}},
	{name: "centrifuge-10ms", path: "bench/centrifuge", args: []string{"--write-delay=10ms"}, protocol: loadgen.Centrifuge{}},
	{name: "floor", path: "bench/floor", protocol: loadgen.Wallet{}},
}

func serverNames() []string {
	list := make([]string, len(kinds))
	for i := range kinds {
		list[i] = kinds[i].name
	}

	return list
}

// comparison is the state that all measurements of one benchmark share.
type comparison struct {
	harness  *harness.Harness
	options  *Options
	programs map[string]string // by the server's name
	runs     int
}

// Run opens the harness, measures each server in each round, and writes the outcome. measure
// returns one result for each load.
func Run(
	ctx context.Context, name string, args []string, getenv func(string) string, o *Options, out *Outcome,
	measure func(context.Context, *Trial) ([]Result, error),
) error {
	err := o.validate()
	if err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("the machine must have two processors: one for the server, one for the load")
	}

	h, err := harness.Open(ctx, name, args, getenv)
	if err != nil {
		return err
	}

	c := &comparison{
		harness:  h,
		options:  o,
		programs: map[string]string{},
	}
	out.name = name
	out.Rounds = o.Rounds
	out.Clients = o.Clients
	err = c.measureServers(ctx, out, measure)
	out.Environment = h.Environment
	err = errors.Join(err, h.Close())
	if err != nil {
		return err
	}
	return report.Write(os.Stdout, out, o.Output)
}

// measureServers measures each server in each round.
func (c *comparison) measureServers(ctx context.Context, out *Outcome, measure func(context.Context, *Trial) ([]Result, error)) error {
	harness.Progress("building")
	err := c.buildPrograms(ctx)
	if err != nil {
		return err
	}

	err = c.pinProcesses(ctx)
	if err != nil {
		return err
	}

	for round := 1; round <= c.options.Rounds; round++ {
		for _, server := range c.options.Servers {
			var results []Result
			err := c.options.Quiet.Do(ctx, c.harness, func() (others float64, err error) {
				results, err = c.runTrial(ctx, round, server, measure)
				for i := range results {
					others = max(others, results[i].others)
				}

				return others, err
			})
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round, server, err)
			}

			for i := range results {
				harness.Progress("round %d: %s", round, out.progressLine(&results[i]))
			}

			out.Results = append(out.Results, results...)
		}
	}

	out.Repeated = c.options.Quiet.Repeated
	return nil
}

// buildPrograms compiles the programs of the servers that are measured.
func (c *comparison) buildPrograms(ctx context.Context) error {
	for i := range kinds {
		k := &kinds[i]
		if !slices.Contains(c.options.Servers, k.name) {
			continue
		}
		if k.path == "" {
			commit, err := stack.ProgramCommit(c.options.Other)
			if err != nil {
				return fmt.Errorf("--other: %w", err)
			}

			c.harness.Environment.Other = commit
			c.programs[k.name] = c.options.Other
			continue
		}

		program, err := c.harness.Build(ctx, k.path)
		if err != nil {
			return err
		}

		c.programs[k.name] = program
	}

	return nil
}

// pinProcesses moves this process and Redis to the processor of the load. The Go runtime has read
// the number of processors at the start and does not notice the change.
func (c *comparison) pinProcesses(ctx context.Context) error {
	// A garbage collection in this process would delay Redis and count as latency of the servers.
	debug.SetGCPercent(1000)
	// A thread that waits in epoll must not stop the other threads.
	runtime.GOMAXPROCS(4)
	pids := []int{os.Getpid()}
	if pid := c.harness.Redis.PID(ctx); pid > 0 {
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
