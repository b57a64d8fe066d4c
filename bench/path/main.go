// Command path measures the time from an operation to the screen: from the HTTP request, from its
// answer and from the event's timestamp, which is the time of the commit, until the event's frame
// has arrived at a WebSocket client. It runs one core and one or more gateways, and sends
// operations at a fixed rate. Before that it measures the CPU time of the idle servers. It exits
// with code 1 if a client missed an event, or got one twice or out of order. Latencies are
// reported, not judged.
//
// Run it with scripts/bench path.
package main

import (
	"context"
	"errors"
	"os"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/report"
)

func main() { process.Main("bench path", run) }

func run(ctx context.Context, args []string, getenv func(string) string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}

	h, err := harness.Open(ctx, "path", args, getenv)
	if err != nil {
		return err
	}

	out, err := measureDurable(ctx, h, o)
	err = errors.Join(err, h.Close())
	if err != nil {
		return err
	}

	err = report.Write(os.Stdout, out, o.output)
	if err != nil {
		return err
	}
	return out.faultError()
}

func measureDurable(ctx context.Context, h *harness.Harness, o *options) (*outcome, error) {
	err := h.RequireDurable()
	if err != nil {
		return nil, err
	}
	return measureAll(ctx, h, o)
}
