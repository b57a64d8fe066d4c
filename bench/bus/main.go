// Command bus measures what publishing and consuming an event through pkg/bus
// costs, in processor time of the process and of Redis, beside bare go-redis that
// does the same in the same run, in turn; and how much memory the dedup keys take.
// Each turn is a process of its own, which this program starts as `bus turn SPEC`.
//
// Run it with scripts/bench bus.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redroomrewards/realtime/bench/lab"
	"github.com/redroomrewards/realtime/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "bench bus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) == 2 && args[0] == "turn" {
		return runTurn(ctx, args[1], os.Stdout)
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	l, err := lab.Open(ctx, "bus", args, getenv)
	if err != nil {
		return err
	}
	out, err := measureAll(ctx, l, o)
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	return report.Write(os.Stdout, out, o.output)
}
