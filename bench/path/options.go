package main

import (
	"errors"
	"flag"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
)

type options struct {
	rates        []int // operations per second; each rate is measured on its own
	accounts     int
	clients      int
	gateways     int
	idle         time.Duration // without operations, before the load; 0: not measured
	warmup       time.Duration
	measure      time.Duration
	rounds       int
	otherCore    string // program; empty: this build
	otherGateway string // program; empty: this build
	quiet        harness.Quiet
	output       report.Options
}

// maxRate is far above the rate that this driver and one core can reach.
const maxRate = 1_000_000

// hasOther reports whether another build takes part.
func (o *options) hasOther() bool { return o.otherCore != "" || o.otherGateway != "" }

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("path", flag.ContinueOnError)
	rates := flags.String("rate", "500",
		"operations per second; they do not wait for earlier answers; several rates are measured one after the other")
	flags.IntVar(&o.accounts, "accounts", 100, "accounts that the operations go to in turn")
	flags.IntVar(&o.clients, "clients", 100,
		"WebSocket clients, each subscribed to one account, spread over accounts and gateways")
	flags.IntVar(&o.gateways, "gateways", 1, "gateways")
	flags.DurationVar(&o.idle, "idle", 10*time.Second,
		"time without operations, before the load, in which the CPU time of idle servers is measured; 0: do not measure it")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second,
		"load before each measurement, at the same rate")
	flags.DurationVar(&o.measure, "measure", 20*time.Second, "length of each measurement")
	flags.IntVar(&o.rounds, "rounds", 1,
		"measurements of each rate, each with new processes and a new database")
	flags.StringVar(&o.otherCore, "other-core", "",
		"another build of the core; in each round it is measured right after this build. It must take the same flags and use the same tables and Redis keys")
	flags.StringVar(&o.otherGateway, "other-gateway", "",
		"another build of the gateway, for the same measurement as --other-core")
	o.quiet.Flag(flags)
	o.output.Flags(flags)
	err := flags.Parse(args)
	if err != nil {
		return nil, err
	}

	o.rates, err = harness.ParseNumbers("rate", *rates, maxRate)
	if err != nil {
		return nil, err
	}
	if min(o.accounts, o.clients, o.gateways, o.rounds) < 1 || o.warmup <= 0 || o.measure <= 0 {
		return nil, errors.New("all numbers and durations must be above zero")
	}
	if o.idle < 0 {
		return nil, errors.New("--idle must not be negative")
	}
	return o, nil
}
