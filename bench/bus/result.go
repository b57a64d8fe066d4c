package main

import (
	"fmt"
	"io"

	"github.com/redroomrewards/realtime/bench/report"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// outcome holds the results of all rounds.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Events      int                `json:"events"`
	Batch       int                `json:"batch"`
	Rounds      int                `json:"rounds"`
	Repeated    int                `json:"repeated"` // discarded trials
	Results     []result           `json:"results"`
}

// resultsOf returns the results of a variant, by round.
func (o *outcome) resultsOf(variant string) []result {
	var results []result
	for i := range o.Results {
		if o.Results[i].Variant == variant {
			results = append(results, o.Results[i])
		}
	}

	return results
}

// A figure selects one figure of a result.
type figure func(*result) float64

func cpuMicros(r *result) float64     { return r.CPU }
func redisMicros(r *result) float64   { return r.Redis }
func othersPercent(r *result) float64 { return r.OthersPercent }
func doneMarkers(r *result) float64   { return r.Markers }
func streamBytes(r *result) float64   { return r.StreamBytes }
func dedupBytes(r *result) float64    { return r.DedupBytes }

func (o *outcome) spreadOf(variant string, f figure) report.Spread {
	return report.SpreadBy(o.resultsOf(variant), f)
}

// ratioOf compares trials of the same round.
func (o *outcome) ratioOf(variant, base string, f figure) report.Spread {
	divide := func(v []float64) float64 { return v[0] / max(v[1], 1e-9) }
	return o.combineRounds(f, divide, variant, base)
}

// differenceOf returns the difference of two variants in the same round. With four variants it
// returns the difference of the first two minus the difference of the last two.
func (o *outcome) differenceOf(f figure, variants ...string) report.Spread {
	return o.combineRounds(f, func(v []float64) float64 {
		sum := v[0] - v[1]
		if len(v) == 4 {
			sum -= v[2] - v[3]
		}
		return sum
	}, variants...)
}

// combineRounds computes one value for each round from the figures of the variants.
func (o *outcome) combineRounds(f figure, combine func([]float64) float64, variants ...string) report.Spread {
	values := make([]float64, o.Rounds)
	for round := range values {
		figures := make([]float64, len(variants))
		for i, v := range variants {
			figures[i] = f(&o.resultsOf(v)[round])
		}

		values[round] = combine(figures)
	}

	return report.SpreadOf(values)
}

// Name implements report.Document.
func (*outcome) Name() string { return "bus" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s events in each trial, %d in each publishing call. Payloads of %d bytes, 1,000 accounts, %d partitions. %d rounds%s.%s "+
		"Done markers written for each event: %.2f with four subscriptions, %.2f if one of them fails at the first attempt.\n\n",
		&o.Environment, report.Number(float64(o.Events)), o.Batch, payloadBytes, bus.DefaultPartitions, o.Rounds, report.Repeated(o.Repeated), o.busyNote(),
		o.spreadOf(bus4, doneMarkers).Median, o.spreadOf(retry4, doneMarkers).Median)
	if err != nil {
		return err
	}

	for _, t := range []*report.Table{
		o.costTable("publishing, median (min to max)", publishVariants()),
		o.costTable("consuming, median (min to max)", consumeVariants()),
		o.differenceTable(),
		o.memoryTable(),
		o.dedupTable(),
	} {
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

const quietPercent = 10

// busyNote returns a sentence if the machine was busy, and an empty text otherwise.
func (o *outcome) busyNote() string {
	s := report.SpreadBy(o.Results, othersPercent)
	if s.Max <= quietPercent {
		return ""
	}
	return fmt.Sprintf(" The machine was busy: other processes used %.0f %% of the processors (%.0f to %.0f %%), so the figures are coarse.",
		s.Median, s.Min, s.Max)
}

// costTable compares the variants with the first one.
func (o *outcome) costTable(title string, variants []variant) *report.Table {
	t := report.NewTable(
		title,
		"CPU µs/event",
		"/ bare",
		"Redis CPU µs/event",
		"/ bare",
		"events/s",
		"others' CPU",
	)
	bare := variants[0].name
	for _, v := range variants {
		rate := o.spreadOf(v.name, func(r *result) float64 { return float64(o.Events) / r.Seconds })
		t.Row(
			v.name,
			o.spreadOf(v.name, cpuMicros).String(),
			o.ratioOf(v.name, bare, cpuMicros).String(),
			o.spreadOf(v.name, redisMicros).String(),
			o.ratioOf(v.name, bare, redisMicros).String(),
			report.Number(rate.Median),
			fmt.Sprintf("%.0f %%", o.spreadOf(v.name, othersPercent).Median),
		)
	}

	return t
}

// differenceTable shows the cost of each part.
func (o *outcome) differenceTable() *report.Table {
	t := report.NewTable(
		"differences of the same round, median (min to max)",
		"CPU µs/event",
		"Redis CPU µs/event",
	)
	for _, row := range []struct {
		name     string
		variants []string
	}{
		{"the least script in place of pipelined XADDs", []string{luaXAdd, bareXAdd}},
		{"the bus' script and its checks in place of that", []string{busNoDedup, luaXAdd}},
		{"dedup by ID", []string{busByID, busNoDedup}},
		{"dedup by Key as well", []string{busByKey, busByID}},
		{"three more subscriptions", []string{bus4, bus1}},
		{"a second attempt, alone", []string{retry1, bus1}},
		{"done markers of three subscriptions, removed again", []string{retry4, bus4, retry1, bus1}},
	} {
		t.Row(row.name, o.differenceOf(cpuMicros, row.variants...).String(),
			o.differenceOf(redisMicros, row.variants...).String())
	}

	return t
}

// memoryTable shows the memory of an event in Redis.
func (o *outcome) memoryTable() *report.Table {
	t := report.NewTable("Redis' memory, bytes/event", "stream", "dedup keys")
	for _, v := range []string{busNoDedup, busByID, busByKey} {
		t.Row(
			v,
			report.Number(o.spreadOf(v, streamBytes).Median),
			report.Number(max(0, o.spreadOf(v, dedupBytes).Median)),
		)
	}

	return t
}

// dedupTable shows the memory of the dedup keys at several rates.
func (o *outcome) dedupTable() *report.Table {
	ttls := []struct {
		name    string
		seconds float64
	}{{"5 min", 300}, {"1 h", 3600}, {"24 h", 86400}}
	head := []string{"memory for dedup, by ID / by ID and Key"}
	for _, ttl := range ttls {
		head = append(head, "TTL "+ttl.name)
	}

	t := report.NewTable(head...)
	byID := o.spreadOf(busByID, dedupBytes).Median
	byKey := o.spreadOf(busByKey, dedupBytes).Median
	for _, rate := range []int{10, 100, 1000, 10000} {
		cells := []string{fmt.Sprint(rate, " events/s")}
		for _, ttl := range ttls {
			events := float64(rate) * ttl.seconds
			cells = append(cells, bytesText(byID*events)+" / "+bytesText(byKey*events))
		}

		t.Row(cells...)
	}

	return t
}

// bytesText returns a size in MB (10^6 bytes) or GB (10^9 bytes).
func bytesText(n float64) string {
	if n >= 1e9 {
		return report.Number(n/1e9) + " GB"
	}
	return report.Number(n/1e6) + " MB"
}
