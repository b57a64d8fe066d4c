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

// result holds the figures of one measurement. A figure that was not measured is zero.
type result struct {
	Scenario   string  `json:"scenario"`
	Accounts   int     `json:"accounts"`
	Clients    int     `json:"clients"`
	Round      int     `json:"round"`
	Operations uint64  `json:"operations"` // in the window; core-pairs counts pairs
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
	DrainMillis float64 `json:"drainMillis"`  // from the end of the load until every event was published
	// OthersPercent is the share of this machine's processors that other processes, and other
	// machines on the same host, used during the measurement.
	OthersPercent float64 `json:"othersPercent"`
}

// newResult computes the figures of the time between two readings of the counters.
func newResult(r *trial, window *histogram.Histogram, took time.Duration, before, after *counters) *result {
	n := float64(max(1, window.Count()))
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / n }
	used := after.usage.Since(&before.usage)
	grown := after.metrics.Since(before.metrics)
	res := &result{
		Scenario:      r.name,
		Accounts:      r.accounts,
		Clients:       r.clients,
		Round:         r.round,
		Operations:    window.Count(),
		PerSecond:     float64(window.Count()) / took.Seconds(),
		P50:           toMillis(window.Quantile(0.5)),
		P99:           toMillis(window.Quantile(0.99)),
		Max:           toMillis(window.Max()),
		ServerCPU:     micros(used.Servers),
		PostgresCPU:   micros(used.Postgres),
		RedisCPU:      micros(used.Redis),
		GeneratorCPU:  micros(used.Generator),
		WALBytes:      float64(after.wal-before.wal) / n,
		Allocs:        grown["go_memstats_mallocs_total"] / n,
		AllocBytes:    grown["go_memstats_alloc_bytes_total"] / n,
		OthersPercent: after.usage.OthersPercent(&before.usage),
	}
	if commits := grown["realtime_ledger_commit_batch_size_count"]; commits > 0 {
		res.BatchSize = grown["realtime_ledger_commit_batch_size_sum"] / commits
		res.CommitMS = 1000 * grown["realtime_ledger_commit_seconds_sum"] / commits
	}
	return res
}

func toMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// outcome holds all results and their ratios.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Seconds     float64            `json:"seconds"` // of each measurement
	Accounts    []int              `json:"accounts"`
	Pools       map[int]int        `json:"baselinePools"` // database connections by number of clients
	Repeated    int                `json:"repeated"`      // discarded measurements
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

// comparisons describe the ratios. A ratio is shown if both of its scenarios were measured.
var comparisons = []struct {
	name, over, under string
	figure            func(over, under *result) float64
}{
	{"core / baseline, operations per second", "core", "baseline", rateRatio},
	{"core through /v1/batch / baseline, operations per second", "core-batch", "baseline", rateRatio},
	{"core on one hot account / on random accounts, operations per second", "core-hot", "core", rateRatio},
	{"core / baseline on one hot account, operations per second", "core-hot", "baseline-hot", rateRatio},
	{"core / the other build, operations per second", "core", "other", rateRatio},
	{"core / the other build on one hot account, operations per second", "core-hot", "other-hot", rateRatio},
	{"core / the other build through /v1/batch, operations per second", "core-batch", "other-batch", rateRatio},
	{"core / the other build, pairs per second", "core-pairs", "other-pairs", rateRatio},
	{"core / the other build, CPU of server and Postgres per operation", "core", "other", cpuRatio},
	{"core's p99 / baseline's p50", "core", "baseline", func(o, u *result) float64 { return o.P99 / u.P50 }},
	{"core / baseline, CPU of server and Postgres per operation", "core", "baseline", cpuRatio},
}

// cpuRatio compares the CPU time of server and Postgres per operation.
func cpuRatio(over, under *result) float64 {
	return (over.ServerCPU + over.PostgresCPU) / (under.ServerCPU + under.PostgresCPU)
}

// rateRatio compares the operations per second.
func rateRatio(over, under *result) float64 { return over.PerSecond / under.PerSecond }

// addRatios adds the ratios of the comparisons, and of each number of accounts to the first one.
func (o *outcome) addRatios() {
	for _, c := range comparisons {
		for _, g := range o.distinctGroups() {
			o.addRatio(c.name, g, o.resultsOf(c.over, g), o.resultsOf(c.under, g), c.figure)
		}
	}

	for _, s := range scenarios {
		for _, g := range o.distinctGroups() {
			first := group{accounts: o.Accounts[0], clients: g.clients}
			if g == first {
				continue
			}

			name := fmt.Sprintf("%s with %d accounts / with %d, operations per second",
				s.name, g.accounts, first.accounts)
			o.addRatio(name, g, o.resultsOf(s.name, g), o.resultsOf(s.name, first), rateRatio)
		}
	}
}

func (o *outcome) addRatio(name string, g group, over, under []result, figure func(over, under *result) float64) {
	if len(over) == 0 || len(over) != len(under) {
		return
	}

	r := ratio{
		Name:     name,
		Accounts: g.accounts,
		Clients:  g.clients,
	}
	for i := range over {
		r.Rounds = append(r.Rounds, figure(&over[i], &under[i]))
	}

	r.Spread = report.SpreadOf(r.Rounds)
	o.Ratios = append(o.Ratios, r)
}

// resultsOf returns the results of a scenario, by round.
func (o *outcome) resultsOf(scenario string, g group) []result {
	var out []result
	for i := range o.Results {
		r := &o.Results[i]
		if r.Scenario == scenario && r.group() == g {
			out = append(out, *r)
		}
	}

	return out
}

// group is the load that compared results have in common.
type group struct{ accounts, clients int }

func (r *result) group() group { return group{accounts: r.Accounts, clients: r.Clients} }

func (o *outcome) distinctGroups() []group {
	var all []group
	for i := range o.Results {
		g := o.Results[i].group()
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}

	return all
}

// Name implements report.Document.
func (*outcome) Name() string { return "ledger" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%g s a run%s%s. No request failed, and every ledger was checked against the answers.\n\n",
		&o.Environment, o.Seconds, o.poolsText(), report.Repeated(o.Repeated))
	if err != nil {
		return err
	}

	for _, t := range []*report.Table{o.ratioTable(), o.speedTable(), o.costTable()} {
		err := t.Write(w)
		if err != nil {
			return err
		}

		_, err = io.WriteString(w, "\n")
		if err != nil {
			return err
		}
	}

	return nil
}

func (o *outcome) ratioTable() *report.Table {
	t := report.NewTable(
		"ratio of neighbouring runs",
		"accounts",
		"clients",
		"median (min to max)",
		"rounds",
	)
	for _, r := range o.Ratios {
		t.Row(r.Name, fmt.Sprint(r.Accounts), fmt.Sprint(r.Clients), r.String(),
			fmt.Sprint(len(r.Rounds)))
	}

	return t
}

// A column shows the median of one figure.
type column struct {
	head   string
	figure func(*result) float64
	format func(median float64) string
}

// numberColumn shows a dash if the figure was not measured.
func numberColumn(head string, figure func(*result) float64) column {
	return column{
		head:   head,
		figure: figure,
		format: report.Optional,
	}
}

// percentColumn shows a figure in per cent.
func percentColumn(head string, figure func(*result) float64) column {
	format := func(median float64) string { return fmt.Sprintf("%.0f %%", median) }
	return column{
		head:   head,
		figure: figure,
		format: format,
	}
}

func (o *outcome) speedTable() *report.Table {
	return o.medianTable("medians",
		numberColumn("op/s", func(r *result) float64 { return r.PerSecond }),
		numberColumn("p50 ms", func(r *result) float64 { return r.P50 }),
		numberColumn("p99 ms", func(r *result) float64 { return r.P99 }),
		numberColumn("max ms", func(r *result) float64 { return r.Max }),
		numberColumn("op/commit", func(r *result) float64 { return r.BatchSize }),
		numberColumn("commit ms", func(r *result) float64 { return r.CommitMS }),
		numberColumn("drain ms", func(r *result) float64 { return r.DrainMillis }),
		percentColumn("others' CPU", func(r *result) float64 { return r.OthersPercent }),
	)
}

func (o *outcome) costTable() *report.Table {
	return o.medianTable("medians, per operation",
		numberColumn("server CPU µs", func(r *result) float64 { return r.ServerCPU }),
		numberColumn("Postgres CPU µs", func(r *result) float64 { return r.PostgresCPU }),
		numberColumn("Redis CPU µs", func(r *result) float64 { return r.RedisCPU }),
		numberColumn("generator CPU µs", func(r *result) float64 { return r.GeneratorCPU }),
		numberColumn("WAL bytes", func(r *result) float64 { return r.WALBytes }),
		numberColumn("allocations", func(r *result) float64 { return r.Allocs }),
		numberColumn("allocated bytes", func(r *result) float64 { return r.AllocBytes }),
	)
}

// medianTable has a row for each scenario and load, with the medians of the rounds.
func (o *outcome) medianTable(title string, columns ...column) *report.Table {
	heads := []string{title, "accounts", "clients"}
	for _, c := range columns {
		heads = append(heads, c.head)
	}

	t := report.NewTable(heads...)
	for _, g := range o.distinctGroups() {
		for _, s := range scenarios {
			results := o.resultsOf(s.name, g)
			if len(results) == 0 {
				continue
			}

			cells := []string{s.name, fmt.Sprint(g.accounts), fmt.Sprint(g.clients)}
			for _, c := range columns {
				cells = append(cells, c.format(report.SpreadBy(results, c.figure).Median))
			}

			t.Row(cells...)
		}
	}

	return t
}

// poolsText returns a clause about the connections of the baseline.
func (o *outcome) poolsText() string {
	text := ""
	for _, clients := range slices.Sorted(maps.Keys(o.Pools)) {
		if size := o.Pools[clients]; size > 0 {
			text += fmt.Sprintf("; baseline at %d clients with %d connections", clients, size)
		}
	}

	return text
}
