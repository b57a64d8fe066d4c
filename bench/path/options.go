package main

import (
	"errors"
	"flag"
	"time"

	"github.com/redroomrewards/realtime/bench/lab"
	"github.com/redroomrewards/realtime/bench/report"
)

type options struct {
	rate     int // operations per second
	accounts int
	clients  int
	gateways int
	warmup   time.Duration
	measure  time.Duration
	rounds   int
	quiet    lab.Quiet
	output   report.Options
}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("path", flag.ContinueOnError)
	flags.IntVar(&o.rate, "rate", 500, "operations per second, whether or not earlier ones are answered")
	flags.IntVar(&o.accounts, "accounts", 100, "accounts that the operations go to in turn")
	flags.IntVar(&o.clients, "clients", 100, "WebSocket clients, each subscribed to one account, spread over accounts and gateways")
	flags.IntVar(&o.gateways, "gateways", 1, "gateways")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "at the same rate, before latencies count")
	flags.DurationVar(&o.measure, "measure", 20*time.Second, "how long latencies count")
	flags.IntVar(&o.rounds, "rounds", 1, "measurements, each with new processes and a new database")
	o.quiet.Flag(flags)
	o.output.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if min(o.rate, o.accounts, o.clients, o.gateways, o.rounds) < 1 || o.warmup <= 0 || o.measure <= 0 {
		return nil, errors.New("all numbers and durations must be above zero")
	}
	return o, nil
}
