// Command bus measures the cost of publishing and consuming an event through pkg/bus: the CPU time
// of the process and of Redis, and the memory of the dedup keys. It compares the bus with bare
// go-redis that does the same work in the same run. Each trial is a process of its own, which this
// program starts as `bus trial SPEC`.
//
// Run it with scripts/bench bus.
package main

import (
	"context"
	"errors"
	"os"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/report"
)

func main() { process.Main("bench bus", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) == 2 && args[0] == "trial" {
		return runTrial(ctx, args[1], os.Stdout)
	}

	o, err := parseOptions(args)
	if err != nil {
		return err
	}

	h, err := harness.Open(ctx, "bus", args, getenv)
	if err != nil {
		return err
	}

	out, err := measureAll(ctx, h, o)
	err = errors.Join(err, h.Close())
	if err != nil {
		return err
	}
	return report.Write(os.Stdout, out, o.output)
}
