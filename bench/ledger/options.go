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
	pool      int // of the baseline; 0: the best of poolSizes
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

// kind is what the clients do.
type kind struct {
	hot    bool // all on one account
	settle bool // each hold is settled
	batch  int  // holds in a POST /v1/batch; 0: one by one
}

const (
	batchSize = 100
	coreQueue = 8192 // operations, the default of core serve
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

// poolSizes are what the baseline is tried with.
var poolSizes = []int{16, 32, 64}

func parseOptions(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("ledger", flag.ContinueOnError)
	clients := flags.String("clients", "64", "keep-alive connections that send one request after the other; several numbers are measured one after the other")
	names := flags.String("scenarios", "baseline,core,core-hot", "what a round consists of, in this order: baseline, core, core-hot, core-pairs (hold and settle), core-batch (POST /v1/batch with 100 holds, left out where all clients' batches do not fit the core's queue), baseline-hot; other, other-hot, other-pairs, other-batch of --other")
	flags.IntVar(&o.pairs, "pairs", 3, "rounds")
	accounts := flags.String("accounts", "10000", "accounts with points; several numbers are measured in turn. More than 100,000 stay on the server for the next time, as database bench_accounts_N")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "before each measurement, under load")
	flags.DurationVar(&o.measure, "measure", 10*time.Second, "each measurement")
	flags.IntVar(&o.pool, "pool", 0, "the baseline's database connections; 0 tries 16, 32 and 64 and takes the best")
	flags.StringVar(&o.other, "other", "", "another build of the core, such as the one before a change, to compare this one with")
	flags.StringVar(&o.profile, "profile", "", "write a CPU profile and an allocation profile of the core's first measurement to PREFIX.cpu and PREFIX.allocs")
	o.quiet.Flag(flags)
	o.output.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if o.clients, err = harness.ParseNumbers("clients", *clients, 999); err != nil {
		return nil, err
	}
	if o.accounts, err = harness.ParseNumbers("accounts", *accounts, maxAccounts); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(*names, ",") {
		i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("--scenarios: %q is unknown", name)
		}
		o.scenarios = append(o.scenarios, scenarios[i])
		if scenarios[i].server == "other" && o.other == "" {
			return nil, fmt.Errorf("--scenarios: %s needs --other", name)
		}
	}
	if o.pairs < 1 || o.warmup <= 0 || o.measure <= 0 || o.pool < 0 {
		return nil, errors.New("--pairs, --warmup and --measure must be above zero")
	}
	return o, nil
}
