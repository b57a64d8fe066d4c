package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/redroomrewards/realtime/bench/histogram"
	"github.com/redroomrewards/realtime/bench/report"
)

// result is one measurement. Figures that were not measured are zero.
type result struct {
	Scenario   string  `json:"scenario"`
	Accounts   int     `json:"accounts"`
	Clients    int     `json:"clients"`
	Round      int     `json:"round"`
	Operations uint64  `json:"operations"` // in the window; of core-pairs: pairs
	PerSecond  float64 `json:"perSecond"`
	P50        float64 `json:"p50Millis"`
	P99        float64 `json:"p99Millis"`
	Max        float64 `json:"maxMillis"`

	// Per operation.
	ServerCPU    float64 `json:"serverCPUMicros"`
	PostgresCPU  float64 `json:"postgresCPUMicros"`
	RedisCPU     float64 `json:"redisCPUMicros"`
	GeneratorCPU float64 `json:"generatorCPUMicros"`
	WALBytes     float64 `json:"walBytes"`
	Allocs       float64 `json:"allocs"`
	AllocBytes   float64 `json:"allocBytes"`

	BatchSize   float64 `json:"batchSize"`    // operations per commit
	CommitMS    float64 `json:"commitMillis"` // mean time of a batch's transaction, from begin to commit
	DrainMillis float64 `json:"drainMillis"`  // from the load's end until every event was published
	// OthersPercent is what other processes, and machines on the same host, took
	// of this machine's processors meanwhile: how quiet it was.
	OthersPercent float64 `json:"othersPercent"`
}

func newResult(r *trial, window *histogram.Histogram, took time.Duration, before, after *counters) *result {
	n := float64(max(1, window.Count()))
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / n }
	used := after.usage.Since(&before.usage)
	grown := after.metrics.Since(before.metrics)
	res := &result{
		Scenario: r.name, Accounts: r.accounts, Clients: r.clients, Round: r.round,
		Operations: window.Count(), PerSecond: float64(window.Count()) / took.Seconds(),
		P50: millis(window.Quantile(0.5)), P99: millis(window.Quantile(0.99)), Max: millis(window.Max()),
		ServerCPU: micros(used.Servers), PostgresCPU: micros(used.Postgres),
		RedisCPU: micros(used.Redis), GeneratorCPU: micros(used.Generator),
		WALBytes: float64(after.wal-before.wal) / n,
		Allocs:   grown["go_memstats_mallocs_total"] / n, AllocBytes: grown["go_memstats_alloc_bytes_total"] / n,
	}
	if commits := grown["ledger_commit_batch_size_count"]; commits > 0 {
		res.BatchSize = grown["ledger_commit_batch_size_sum"] / commits
		res.CommitMS = 1000 * grown["ledger_commit_seconds_sum"] / commits
	}
	res.OthersPercent = after.usage.OthersPercent(&before.usage)
	return res
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// outcome is all measurements and what follows from them.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Seconds     float64            `json:"seconds"` // of each measurement
	Accounts    []int              `json:"accounts"`
	Pools       map[int]int        `json:"baselinePools"` // database connections by number of clients
	Repeated    int                `json:"repeated"`      // measurements thrown away because others disturbed them
	Ratios      []ratio            `json:"ratios"`
	Results     []result           `json:"results"`
}

// ratio compares two scenarios round by round.
type ratio struct {
	Name     string    `json:"name"`
	Accounts int       `json:"accounts"`
	Clients  int       `json:"clients"`
	Rounds   []float64 `json:"rounds"`
	report.Spread
}

// comparisons are the ratios that are claimed, where both sides were measured.
var comparisons = []struct {
	name, over, under string
	figure            func(over, under *result) float64
}{
	{"core / baseline, operations per second", "core", "baseline", perSecond},
	{"core through /v1/batch / baseline, operations per second", "core-batch", "baseline", perSecond},
	{"core on one hot account / on random accounts, operations per second", "core-hot", "core", perSecond},
	{"core / baseline on one hot account, operations per second", "core-hot", "baseline-hot", perSecond},
	{"core / the other build, operations per second", "core", "other", perSecond},
	{"core / the other build on one hot account, operations per second", "core-hot", "other-hot", perSecond},
	{"core / the other build through /v1/batch, operations per second", "core-batch", "other-batch", perSecond},
	{"core / the other build, pairs per second", "core-pairs", "other-pairs", perSecond},
	{"core / the other build, CPU of server and Postgres per operation", "core", "other", cpuTime},
	{"core's p99 / baseline's p50", "core", "baseline", func(o, u *result) float64 { return o.P99 / u.P50 }},
	{"core / baseline, CPU of server and Postgres per operation", "core", "baseline", cpuTime},
}

func cpuTime(over, under *result) float64 {
	return (over.ServerCPU + over.PostgresCPU) / (under.ServerCPU + under.PostgresCPU)
}

func perSecond(over, under *result) float64 { return over.PerSecond / under.PerSecond }

func (o *outcome) compare() {
	for _, c := range comparisons {
		for _, g := range o.groups() {
			o.ratio(c.name, g, o.of(c.over, g), o.of(c.under, g), c.figure)
		}
	}
	for _, s := range scenarios {
		for _, g := range o.groups() {
			if fewest := (group{o.Accounts[0], g.clients}); g != fewest {
				o.ratio(fmt.Sprintf("%s with %d accounts / with %d, operations per second", s.name, g.accounts, fewest.accounts), g, o.of(s.name, g), o.of(s.name, fewest), perSecond)
			}
		}
	}
}

func (o *outcome) ratio(name string, g group, over, under []result, figure func(over, under *result) float64) {
	if len(over) == 0 || len(over) != len(under) {
		return
	}
	r := ratio{Name: name, Accounts: g.accounts, Clients: g.clients}
	for i := range over {
		r.Rounds = append(r.Rounds, figure(&over[i], &under[i]))
	}
	r.Spread = report.SpreadOf(r.Rounds)
	o.Ratios = append(o.Ratios, r)
}

// of is a scenario's results, by round.
func (o *outcome) of(scenario string, g group) []result {
	var out []result
	for i := range o.Results {
		if r := &o.Results[i]; r.Scenario == scenario && r.group() == g {
			out = append(out, *r)
		}
	}
	return out
}

// group is what results that are compared have in common.
type group struct{ accounts, clients int }

func (r *result) group() group { return group{r.Accounts, r.Clients} }

func (o *outcome) groups() []group {
	var all []group
	for i := range o.Results {
		if g := o.Results[i].group(); !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

// Name implements report.Document.
func (*outcome) Name() string { return "ledger" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	ratios := report.NewTable("ratio of neighbouring runs", "accounts", "clients", "median (min to max)", "rounds")
	for _, r := range o.Ratios {
		ratios.Row(r.Name, fmt.Sprint(r.Accounts), fmt.Sprint(r.Clients), r.String(), fmt.Sprint(len(r.Rounds)))
	}
	speed := report.NewTable("medians", "accounts", "clients", "op/s", "p50 ms", "p99 ms", "max ms", "op/commit", "commit ms", "drain ms", "others' CPU")
	costs := report.NewTable("medians, per operation", "accounts", "clients", "server CPU µs", "Postgres CPU µs", "Redis CPU µs", "generator CPU µs", "WAL bytes", "allocations", "allocated bytes")
	for _, g := range o.groups() {
		accounts, clients := fmt.Sprint(g.accounts), fmt.Sprint(g.clients)
		for _, s := range scenarios {
			results := o.of(s.name, g)
			if len(results) == 0 {
				continue
			}
			median := func(figure func(*result) float64) float64 { return report.SpreadBy(results, figure).Median }
			cell := func(figure func(*result) float64) string { return report.Optional(median(figure)) }
			speed.Row(s.name, accounts, clients,
				cell(func(r *result) float64 { return r.PerSecond }),
				cell(func(r *result) float64 { return r.P50 }), cell(func(r *result) float64 { return r.P99 }),
				cell(func(r *result) float64 { return r.Max }), cell(func(r *result) float64 { return r.BatchSize }),
				cell(func(r *result) float64 { return r.CommitMS }), cell(func(r *result) float64 { return r.DrainMillis }),
				fmt.Sprintf("%.0f %%", median(func(r *result) float64 { return r.OthersPercent })))
			costs.Row(s.name, accounts, clients,
				cell(func(r *result) float64 { return r.ServerCPU }), cell(func(r *result) float64 { return r.PostgresCPU }),
				cell(func(r *result) float64 { return r.RedisCPU }), cell(func(r *result) float64 { return r.GeneratorCPU }),
				cell(func(r *result) float64 { return r.WALBytes }), cell(func(r *result) float64 { return r.Allocs }),
				cell(func(r *result) float64 { return r.AllocBytes }))
		}
	}
	if _, err := fmt.Fprintf(w, "%s\n\n%g s a run%s%s. No request failed, and every ledger was checked against the answers.\n\n",
		&o.Environment, o.Seconds, o.pools(), report.Repeated(o.Repeated)); err != nil {
		return err
	}
	for _, t := range []*report.Table{ratios, speed, costs} {
		if err := t.Write(w); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (o *outcome) pools() string {
	text := ""
	for _, clients := range slices.Sorted(maps.Keys(o.Pools)) {
		if size := o.Pools[clients]; size > 0 {
			text += fmt.Sprintf("; baseline at %d clients with %d connections", clients, size)
		}
	}
	return text
}
