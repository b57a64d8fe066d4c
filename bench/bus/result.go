package main

import (
	"fmt"
	"io"

	"github.com/redroomrewards/realtime/bench/report"
)

// outcome is all rounds.
type outcome struct {
	Environment report.Environment `json:"environment"`
	Events      int                `json:"events"`
	Batch       int                `json:"batch"`
	Rounds      int                `json:"rounds"`
	Repeated    int                `json:"repeated"` // trials discarded because others disturbed them
	Results     []result           `json:"results"`
}

// of are a variant's results, round after round.
func (o *outcome) of(variant string) []result {
	var some []result
	for i := range o.Results {
		if o.Results[i].Variant == variant {
			some = append(some, o.Results[i])
		}
	}
	return some
}

// A figure selects one of the results of a trial.
type figure func(*result) float64

func cpu(r *result) float64         { return r.CPU }
func redisCPU(r *result) float64    { return r.Redis }
func others(r *result) float64      { return r.OthersPercent }
func markers(r *result) float64     { return r.Markers }
func dedupMemory(r *result) float64 { return r.DedupBytes }

func (o *outcome) spread(variant string, f figure) report.Spread {
	return report.SpreadBy(o.of(variant), f)
}

// ratio compares trials of the same round.
func (o *outcome) ratio(variant, base string, f figure) report.Spread {
	return o.compare(f, func(v []float64) float64 { return v[0] / max(v[1], 1e-9) }, variant, base)
}

// difference is how much more a variant costs than another in the same round, less
// what the other pairs differ.
func (o *outcome) difference(f figure, variants ...string) report.Spread {
	return o.compare(f, func(v []float64) float64 {
		sum := v[0] - v[1]
		if len(v) == 4 {
			sum -= v[2] - v[3]
		}
		return sum
	}, variants...)
}

func (o *outcome) compare(f figure, combine func([]float64) float64, variants ...string) report.Spread {
	values := make([]float64, o.Rounds)
	for round := range values {
		of := make([]float64, len(variants))
		for i, v := range variants {
			of[i] = f(&o.of(v)[round])
		}
		values[round] = combine(of)
	}
	return report.SpreadOf(values)
}

// Name implements report.Document.
func (*outcome) Name() string { return "bus" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s events a trial, %d in each call that publishes; payloads of %d bytes, 1,000 accounts, 16 partitions. %d rounds%s.%s "+
		"Done markers written for each event: %.2f with four subscriptions, %.2f when one of them fails at first.\n\n",
		&o.Environment, report.Number(float64(o.Events)), o.Batch, payloadBytes, o.Rounds, report.Repeated(o.Repeated), o.disturbed(),
		o.spread(bus4, markers).Median, o.spread(retry4, markers).Median)
	if err != nil {
		return err
	}
	for _, t := range []*report.Table{
		o.costs("publishing, median (min to max)", publishing()), o.costs("consuming, median (min to max)", consuming()),
		o.parts(), o.memory(), o.sizes(),
	} {
		if err := t.Write(w); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	return nil
}

const quietPercent = 10

// disturbed says so when the machine was busy.
func (o *outcome) disturbed() string {
	s := report.SpreadBy(o.Results, others)
	if s.Max <= quietPercent {
		return ""
	}
	return fmt.Sprintf(" The machine was busy: others used %.0f %% of the processors (%.0f to %.0f %%), so the figures are coarse.", s.Median, s.Min, s.Max)
}

// costs compares the variants with the first.
func (o *outcome) costs(title string, variants []variant) *report.Table {
	t := report.NewTable(title, "CPU µs/event", "/ bare", "Redis CPU µs/event", "/ bare", "events/s", "others' CPU")
	bare := variants[0].name
	for _, v := range variants {
		rate := o.spread(v.name, func(r *result) float64 { return float64(o.Events) / r.Seconds })
		t.Row(v.name, o.spread(v.name, cpu).String(), o.ratio(v.name, bare, cpu).String(),
			o.spread(v.name, redisCPU).String(), o.ratio(v.name, bare, redisCPU).String(),
			report.Number(rate.Median), fmt.Sprintf("%.0f %%", o.spread(v.name, others).Median))
	}
	return t
}

// parts tells what each part costs.
func (o *outcome) parts() *report.Table {
	t := report.NewTable("differences of the same round, median (min to max)", "CPU µs/event", "Redis CPU µs/event")
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
		t.Row(row.name, o.difference(cpu, row.variants...).String(), o.difference(redisCPU, row.variants...).String())
	}
	return t
}

// memory tells what an event takes in Redis.
func (o *outcome) memory() *report.Table {
	t := report.NewTable("Redis' memory, bytes/event", "stream", "dedup keys")
	for _, v := range []string{busNoDedup, busByID, busByKey} {
		t.Row(v, report.Number(o.spread(v, func(r *result) float64 { return r.StreamBytes }).Median),
			report.Number(max(0, o.spread(v, dedupMemory).Median)))
	}
	return t
}

// sizes tells what dedup takes when so many events come each second.
func (o *outcome) sizes() *report.Table {
	ttls := []struct {
		name    string
		seconds float64
	}{{"5 min", 300}, {"1 h", 3600}, {"24 h", 86400}}
	head := []string{"memory for dedup, by ID / by ID and Key"}
	for _, ttl := range ttls {
		head = append(head, "TTL "+ttl.name)
	}
	t := report.NewTable(head...)
	byID, byKey := o.spread(busByID, dedupMemory).Median, o.spread(busByKey, dedupMemory).Median
	for _, rate := range []int{10, 100, 1000, 10000} {
		cells := []string{fmt.Sprint(rate, " events/s")}
		for _, ttl := range ttls {
			cells = append(cells, bytesText(byID*float64(rate)*ttl.seconds)+" / "+bytesText(byKey*float64(rate)*ttl.seconds))
		}
		t.Row(cells...)
	}
	return t
}

// bytesText writes a size in MB or GB, of powers of ten.
func bytesText(n float64) string {
	if n >= 1e9 {
		return report.Number(n/1e9) + " GB"
	}
	return report.Number(n/1e6) + " MB"
}
