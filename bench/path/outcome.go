package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/redroomrewards/realtime/bench/report"
)

// outcome holds all results, in the order in which they were measured.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Rates       []int              `json:"rates"`
	Accounts    int                `json:"accounts"`
	Clients     int                `json:"clients"`
	Gateways    int                `json:"gateways"`
	Seconds     float64            `json:"seconds"`     // of each measurement
	IdleSeconds float64            `json:"idleSeconds"` // before each measurement
	Repeated    int                `json:"repeated"`    // discarded measurements
	Results     []result           `json:"results"`
}

// faultError returns an error if a client missed an event, or got one twice or out of order.
func (o *outcome) faultError() error {
	for i := range o.Results {
		r := &o.Results[i]
		if r.Faults.hasAny() {
			err := fmt.Errorf("round %d, %d operations per second, %s build: %s",
				r.Round, r.Rate, r.Build, &r.Faults)
			return errors.Join(err, r.Faults.First)
		}
	}

	return nil
}

// Name implements report.Document.
func (*outcome) Name() string { return "path" }

// latencies are the rows of the first table.
var latencies = []struct {
	name string
	of   func(*result) *latency
}{
	{"HTTP request to frame at the client", func(r *result) *latency { return &r.RequestToFrame }},
	{"HTTP answer to frame at the client", func(r *result) *latency { return &r.AnswerToFrame }},
	{"event's timestamp (commit) to frame at the client", func(r *result) *latency { return &r.CommitToFrame }},
	{"HTTP request to answer", func(r *result) *latency { return &r.RequestAnswer }},
}

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s operations per second on %d accounts, %d clients on %d gateways, %g s a round, %d rounds%s.\n",
		&o.Environment, o.ratesText(), o.Accounts, o.Clients, o.Gateways, o.Seconds, o.roundCount(), report.Repeated(o.Repeated))
	if err != nil {
		return err
	}

	tables := []*report.Table{o.latencyTable(), o.countTable()}
	if o.IdleSeconds > 0 {
		tables = append(tables, o.idleTable())
	}
	if o.hasOther() {
		tables = append(tables, o.ratioTable())
	}

	for _, t := range tables {
		_, err := io.WriteString(w, "\n")
		if err != nil {
			return err
		}

		err = t.Write(w)
		if err != nil {
			return err
		}
	}

	return nil
}

func (o *outcome) ratesText() string {
	texts := make([]string, len(o.Rates))
	for i, rate := range o.Rates {
		texts[i] = strconv.Itoa(rate)
	}

	return strings.Join(texts, ", ")
}

func (o *outcome) roundCount() int {
	rounds := 0
	for i := range o.Results {
		rounds = max(rounds, o.Results[i].Round)
	}

	return rounds
}

func (o *outcome) hasOther() bool {
	for i := range o.Results {
		if o.Results[i].Build == otherBuild {
			return true
		}
	}

	return false
}

// buildNames returns the names of the measured builds.
func (o *outcome) buildNames() []string {
	if o.hasOther() {
		return []string{thisBuild, otherBuild}
	}
	return []string{thisBuild}
}

// resultsOf returns the results of a build at a rate, by round. Rate 0 stands for all rates.
func (o *outcome) resultsOf(rate int, build string) []result {
	var list []result
	for i := range o.Results {
		r := &o.Results[i]
		if r.Build == build && (rate == 0 || r.Rate == rate) {
			list = append(list, *r)
		}
	}

	return list
}

func (o *outcome) latencyTable() *report.Table {
	t := report.NewTable(
		"milliseconds, median of the rounds (min to max)",
		"operations/s",
		"build",
		"p50",
		"p99",
		"max",
	)
	for _, row := range latencies {
		for _, rate := range o.Rates {
			for _, build := range o.buildNames() {
				results := o.resultsOf(rate, build)
				cell := func(figure func(*latency) float64) string {
					return report.SpreadBy(results, func(r *result) float64 { return figure(row.of(r)) }).String()
				}
				t.Row(row.name, strconv.Itoa(rate), build,
					cell(func(l *latency) float64 { return l.P50 }),
					cell(func(l *latency) float64 { return l.P99 }),
					cell(func(l *latency) float64 { return l.Max }))
			}
		}
	}

	return t
}

func (o *outcome) countTable() *report.Table {
	t := report.NewTable("round", "operations/s", "build", "operations", "events arrived", "before the answer", "lost", "twice",
		"out of order", "driver late by ms", "core CPU µs/operation", "gateway CPU µs/event", "Redis CPU µs/operation", "others' CPU")
	for i := range o.Results {
		r := &o.Results[i]
		t.Row(
			strconv.Itoa(r.Round),
			strconv.Itoa(r.Rate),
			r.Build,
			report.Number(float64(r.Operations)),
			report.Number(float64(r.Events)),
			fmt.Sprintf("%.0f %%", r.Before),
			fmt.Sprint(r.Faults.Lost),
			fmt.Sprint(r.Faults.Twice),
			fmt.Sprint(r.Faults.OutOfOrder),
			report.Number(r.LatestStart),
			report.Optional(r.CoreCPU),
			report.Optional(r.GatewayCPU),
			report.Optional(r.RedisCPU),
			fmt.Sprintf("%.0f %%", r.OthersPercent),
		)
	}

	return t
}

// idleTable has one row for each build, over all rates, because there is no load yet.
func (o *outcome) idleTable() *report.Table {
	head := fmt.Sprintf("no operations for %g s: per cent of one core, median (min to max)",
		o.IdleSeconds)
	t := report.NewTable(head, "core", "gateway", "Redis", "others' CPU", "measurements")
	for _, build := range o.buildNames() {
		results := o.resultsOf(0, build)
		cell := func(figure func(*idleCPU) float64) string {
			return report.SpreadBy(results, func(r *result) float64 { return figure(r.Idle) }).String()
		}
		t.Row(build+" build",
			cell(func(i *idleCPU) float64 { return i.Core }),
			cell(func(i *idleCPU) float64 { return i.Gateway }),
			cell(func(i *idleCPU) float64 { return i.Redis }),
			cell(func(i *idleCPU) float64 { return i.Others }),
			strconv.Itoa(len(results)))
	}

	return t
}

// ratioTable compares the two builds.
func (o *outcome) ratioTable() *report.Table {
	t := report.NewTable(
		"this build / the other, same round",
		"operations/s",
		"median (min to max)",
		"rounds",
	)
	add := func(name string, rate int, figure func(*result) float64) {
		values := o.ratioOf(rate, figure)
		cell := "–"
		if len(values) > 0 {
			cell = report.SpreadOf(values).String()
		}

		t.Row(name, strconv.Itoa(rate), cell, strconv.Itoa(len(values)))
	}
	for _, rate := range o.Rates {
		for _, l := range latencies {
			add(l.name+", p50", rate, func(r *result) float64 { return l.of(r).P50 })
			add(l.name+", p99", rate, func(r *result) float64 { return l.of(r).P99 })
		}

		add("core CPU per operation", rate, func(r *result) float64 { return r.CoreCPU })
		add("gateway CPU per event", rate, func(r *result) float64 { return r.GatewayCPU })
		add("Redis CPU per operation", rate, func(r *result) float64 { return r.RedisCPU })
	}

	return t
}

// ratioOf compares a figure round by round. It leaves a round out if the other build's figure is
// zero.
func (o *outcome) ratioOf(rate int, figure func(*result) float64) []float64 {
	these := o.resultsOf(rate, thisBuild)
	others := o.resultsOf(rate, otherBuild)
	var values []float64
	for i := range min(len(these), len(others)) {
		divisor := figure(&others[i])
		if divisor > 0 {
			values = append(values, figure(&these[i])/divisor)
		}
	}

	return values
}
