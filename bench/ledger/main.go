// Command ledger measures how many operations per second the core commits over
// HTTP, beside a server that spends a transaction on each request. Both run on
// the same Postgres, in turn, each time on a fresh copy of the same database; what
// it claims are the ratios of neighbouring runs. It ends with code 1 when a
// request failed or when a ledger is not what the answers said.
//
// Run it with scripts/bench ledger.
package main

import (
	"context"
	"errors"
	"os"
	"runtime"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/report"
)

func main() { process.Main("bench ledger", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	// The generator shares the processors with what it measures: one is plenty.
	runtime.GOMAXPROCS(1)
	h, err := harness.Open(ctx, "ledger", args, getenv)
	if err != nil {
		return err
	}
	out, err := measureDurable(ctx, h, o)
	if err := errors.Join(err, h.Close()); err != nil {
		return err
	}
	return report.Write(os.Stdout, out, o.output)
}

func measureDurable(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	if err := h.RequireDurable(); err != nil {
		return nil, err
	}
	return measure(ctx, h, o)
}

func measure(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	b, err := openBench(ctx, h, o)
	if err != nil {
		return nil, err
	}
	return b.measureAll(ctx)
}
