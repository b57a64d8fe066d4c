package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/bench/harness"
	"github.com/redroomrewards/realtime/bench/report"
)

type options struct {
	clients   []int
	pairs     int
	accounts  []int
	warmup    time.Duration
	measure   time.Duration
	scenarios []scenario
	pool      int // connections of the baseline; 0: the best of poolSizes
	other     string
	profile   string
	quiet     harness.Quiet
	output    report.Options
}

// A scenario is one server under one kind of load.
type scenario struct {
	name   string
	server string // core, baseline, or other: another build of the core
	load   kind
}

// kind describes the requests of the clients.
type kind struct {
	hot    bool // all requests use one account
	settle bool // each hold is settled
	batch  int  // holds in each POST /v1/batch; 0: one request for each hold
}

const (
	batchSize = 100
	coreQueue = 8192 // operations in the queue of core serve, its default
)

var scenarios = []scenario{
	{"baseline", "baseline", kind{}},
	{"core", "core", kind{}},
	{"core-hot", "core", kind{hot: true}},
	{"core-pairs", "core", kind{settle: true}},
	{"core-batch", "core", kind{batch: batchSize}},
	{"baseline-hot", "baseline", kind{hot: true}},
	{"other", "other", kind{}},
	{"other-hot", "other", kind{hot: true}},
	{"other-pairs", "other", kind{settle: true}},
	{"other-batch", "other", kind{batch: batchSize}},
}

// poolSizes are the numbers of connections that are tried for the baseline.
var poolSizes = []int{16, 32, 64}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("ledger", flag.ContinueOnError)
	clients := flags.String("clients", "64",
		"keep-alive connections, each sending one request after the other; several numbers are measured one after the other")
	names := flags.String("scenarios", "baseline,core,core-hot",
		"scenarios of a round, in this order: baseline, core, core-hot, core-pairs (hold and settle), core-batch (POST /v1/batch with 100 holds; skipped if the batches of all clients do not fit into the core's queue), baseline-hot; with --other also other, other-hot, other-pairs, other-batch")
	flags.IntVar(&o.pairs, "pairs", 3, "rounds")
	accounts := flags.String("accounts", "10000",
		"accounts with points; several numbers are measured in turn. A database with more than 100,000 accounts stays on the server for the next benchmark, as bench_accounts_N")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "load before each measurement")
	flags.DurationVar(&o.measure, "measure", 10*time.Second, "length of each measurement")
	flags.IntVar(&o.pool, "pool", 0,
		"database connections of the baseline; 0: the best of 16, 32 and 64")
	flags.StringVar(&o.other, "other", "",
		"another build of the core, for example the one before a change, for comparison")
	flags.StringVar(&o.profile, "profile", "",
		"write a CPU profile and an allocation profile of the core's first measurement to PREFIX.cpu and PREFIX.allocs")
	o.quiet.Flag(flags)
	o.output.Flags(flags)
	err := flags.Parse(args)
	if err != nil {
		return nil, err
	}

	o.clients, err = harness.ParseNumbers("clients", *clients, 999)
	if err != nil {
		return nil, err
	}

	o.accounts, err = harness.ParseNumbers("accounts", *accounts, maxAccounts)
	if err != nil {
		return nil, err
	}

	for name := range strings.SplitSeq(*names, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--scenarios: unknown scenario %q", name)
		}

		o.scenarios = append(o.scenarios, scenarios[i])
		if scenarios[i].server == "other" && o.other == "" {
			return nil, fmt.Errorf("--scenarios: %s needs --other", name)
		}
	}

	if o.pairs < 1 || o.warmup <= 0 || o.measure <= 0 {
		return nil, errors.New("--pairs, --warmup and --measure must be above zero")
	}
	if o.pool < 0 {
		return nil, errors.New("--pool must not be negative")
	}
	return o, nil
}
