//go:build linux

// Command sdk compares the TypeScript client of this repository with centrifuge-js, the client of
// Centrifugo: size, time to the first balance, CPU time of events, time to notice a dead network,
// time to recover after a restart, and events lost, repeated or reordered over many restarts. Both
// run in Node.js, at the same time, and get the events of the same core.
//
// Run it with scripts/bench sdk. It needs Node.js and npm.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/process"
	"github.com/redroomrewards/realtime/bench/report"
)

func main() { process.Main("bench sdk", run) }

type options struct {
	opens    int
	rate     int
	measure  time.Duration
	clients  int
	recovers int
	settle   time.Duration
	restarts int
	rows     *regexp.Regexp
	output   report.Options
}

func parseOptions(args []string) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("sdk", flag.ContinueOnError)
	flags.IntVar(&o.opens, "opens", 100, "clients that are opened for the time to the first balance")
	flags.IntVar(&o.rate, "rate", 1000, "events per second for the CPU time")
	flags.DurationVar(&o.measure, "measure", 10*time.Second, "length of the measurement of CPU time")
	flags.IntVar(&o.clients, "clients", 10, "clients of each library that notice a dead network, and recover")
	flags.IntVar(&o.recovers, "recovers", 5, "restarts for the time to recover")
	flags.DurationVar(&o.settle, "settle", 31*time.Second,
		"pause before each of these restarts; the client forgets earlier failures after 30 s")
	flags.IntVar(&o.restarts, "restarts", 100, "restarts for lost, repeated and reordered events")
	rows := flags.String("rows", "", "regular expression of the rows to measure; default: all")
	o.output.Flags(flags)
	err := flags.Parse(args)
	if err != nil {
		return nil, err
	}

	o.rows, err = regexp.Compile(*rows)
	if err != nil {
		return nil, fmt.Errorf("--rows: %w", err)
	}
	if min(o.opens, o.rate, o.clients, o.recovers, o.restarts) < 1 || o.measure <= 0 || o.settle < 0 {
		return nil, errors.New("all numbers and durations must be above zero")
	}
	return o, nil
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}

	h, err := harness.Open(ctx, "sdk", args, getenv)
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

// measureAll measures one row of the table after the other.
func measureAll(ctx context.Context, h *harness.Harness, o *options) (_ *outcome, err error) {
	w, err := openWorld(ctx, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	out := &outcome{Environment: h.Environment, Options: *o}
	for _, row := range []struct {
		name    string
		measure func(context.Context, *world, *options, *outcome) error
	}{
		{"size", measureSize},
		{"time to the first balance", measureOpen},
		{"CPU time of events", measureCPU},
		{"a dead network", measureSilence},
		{"recovery after a restart", measureRecovery},
		{"events over restarts", measureRestarts},
	} {
		if !o.rows.MatchString(row.name) {
			continue
		}

		harness.Progress("%s", row.name)
		err := row.measure(ctx, w, o, out)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
