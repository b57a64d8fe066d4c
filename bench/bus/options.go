package main

import (
	"errors"
	"flag"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
)

type options struct {
	events int
	batch  int
	rounds int
	quiet  harness.Quiet
	output report.Options
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bus", flag.ContinueOnError)
	flags.IntVar(&o.events, "events", 100_000, "events in each trial")
	flags.IntVar(&o.batch, "batch", 500,
		"events in each publishing call, and in each pipeline of bare XADDs")
	flags.IntVar(&o.rounds, "rounds", 3, "measurements of each variant")
	o.quiet.Flag(flags)
	o.output.Flags(flags)
	err := flags.Parse(args)
	if err != nil {
		return nil, err
	}

	if min(o.events, o.batch, o.rounds) < 1 || o.events > 1_000_000 {
		return nil, errors.New("all numbers must be above zero, and --events must be at most 1,000,000, the length of a stream")
	}
	return o, nil
}
