// Command ledger measures the number of operations per second that the core commits over HTTP, and
// compares it with a server that uses one transaction for each request. Both run on the same
// Postgres, one after the other, each time on a fresh copy of the same database. The results are
// the ratios of neighbouring runs. The command exits with code 1 if a request failed or if a ledger
// does not match the answers.
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

	// The load generator shares the processors with the servers, and one is enough for it.
	runtime.GOMAXPROCS(1)
	h, err := harness.Open(ctx, "ledger", args, getenv)
	if err != nil {
		return err
	}

	out, err := measureDurable(ctx, h, o)
	err = errors.Join(err, h.Close())
	if err != nil {
		return err
	}
	return report.Write(os.Stdout, out, o.output)
}

func measureDurable(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	err := h.RequireDurable()
	if err != nil {
		return nil, err
	}
	return measureLedger(ctx, h, o)
}

func measureLedger(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	b, err := openBench(ctx, h, o)
	if err != nil {
		return nil, err
	}
	return b.measureAll(ctx)
}
