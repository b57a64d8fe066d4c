//go:build linux

package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/redroomrewards/realtime/bench/report"
)

// Column describes one figure of the results.
type Column struct {
	Name  string
	Ratio bool // the ratios of servers are shown as well
	Plain bool // only the median is shown
}

// Result holds the figures of one server under one load.
type Result struct {
	Round  int
	Server string
	Load   string
	Values []float64 // by column
	others float64   // share of the processors that other processes used, in per cent
}

// NewResult returns a result with the values and the share of other processes in used.
func NewResult(load string, used *Used, values ...float64) Result {
	return Result{
		Load:   load,
		Values: values,
		others: used.othersPercent,
	}
}

// Outcome holds all results. It implements report.Document.
type Outcome struct {
	Environment report.Environment
	Intro       string // one sentence about the load
	LoadName    string // head of the column of loads
	Columns     []Column
	Rounds      int
	Clients     int
	Repeated    int // discarded measurements
	Results     []Result

	name string
}

// Name implements report.Document.
func (o *Outcome) Name() string { return o.name }

// MarshalJSON implements json.Marshaler. The figures have the names of their columns.
func (o *Outcome) MarshalJSON() ([]byte, error) {
	type row struct {
		Round         int                `json:"round"`
		Server        string             `json:"server"`
		Load          string             `json:"load"`
		Figures       map[string]float64 `json:"figures"`
		OthersPercent float64            `json:"othersPercent"`
	}
	rows := make([]row, len(o.Results))
	for i := range o.Results {
		r := &o.Results[i]
		rows[i] = row{
			Round:         r.Round,
			Server:        r.Server,
			Load:          r.Load,
			Figures:       map[string]float64{},
			OthersPercent: r.others,
		}
		for c, v := range r.Values {
			rows[i].Figures[o.Columns[c].Name] = v
		}
	}

	return json.Marshal(map[string]any{
		"environment": &o.Environment,
		"rounds":      o.Rounds,
		"clients":     o.Clients,
		"repeated":    o.Repeated,
		"results":     rows,
	})
}

// progressLine returns a result in one line.
func (o *Outcome) progressLine(r *Result) string {
	parts := []string{r.Server, r.Load}
	for i, v := range r.Values {
		parts = append(parts, o.Columns[i].Name+" "+report.Number(v))
	}

	return strings.Join(parts, ", ")
}

// Text implements report.Document.
func (o *Outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s %d rounds%s.\n\n",
		&o.Environment, o.Intro, o.Rounds, report.Repeated(o.Repeated))
	if err != nil {
		return err
	}

	figures := report.NewTable(o.figureHeads("median (min to max)", "server")...)
	ratios := report.NewTable(o.ratioHeads()...)
	hasRatios := false
	loads := o.distinctValues(func(r *Result) string { return r.Load })
	servers := o.distinctValues(func(r *Result) string { return r.Server })
	for _, load := range loads {
		for _, server := range servers {
			figures.Row(o.figureRow(load, server)...)
			if server != servers[0] {
				ratios.Row(o.ratioRow(load, servers[0], server)...)
				hasRatios = true
			}
		}
	}

	err = figures.Write(w)
	if err != nil || !hasRatios {
		return err
	}

	_, err = io.WriteString(w, "\n")
	if err != nil {
		return err
	}
	return ratios.Write(w)
}

func (o *Outcome) figureHeads(first, second string) []string {
	heads := []string{o.LoadName + ", " + first, second}
	for _, c := range o.Columns {
		heads = append(heads, c.Name)
	}

	return append(heads, "others' CPU")
}

func (o *Outcome) ratioHeads() []string {
	heads := []string{"ratios of the same round", "of"}
	for _, c := range o.Columns {
		if c.Ratio {
			heads = append(heads, c.Name)
		}
	}

	return heads
}

func (o *Outcome) figureRow(load, server string) []string {
	row := []string{load, server}
	results := o.resultsOf(load, server)
	for i, c := range o.Columns {
		s := report.SpreadBy(results, func(r *Result) float64 { return r.Values[i] })
		cell := report.Number(s.Median)
		if !c.Plain && s.Min != s.Max {
			cell += fmt.Sprintf(" (%s to %s)", report.Number(s.Min), report.Number(s.Max))
		}

		row = append(row, cell)
	}

	others := report.SpreadBy(results, func(r *Result) float64 { return r.others })
	return append(row, fmt.Sprintf("%.0f %%", others.Median))
}

// ratioRow divides the figures of the server over by those of the server under, round by round.
func (o *Outcome) ratioRow(load, over, under string) []string {
	row := []string{load, over + " / " + under}
	numerators := o.resultsOf(load, over)
	denominators := o.resultsOf(load, under)
	for i, c := range o.Columns {
		if !c.Ratio {
			continue
		}

		var values []float64
		for n := range min(len(numerators), len(denominators)) {
			a := numerators[n].Values[i]
			b := denominators[n].Values[i]
			if a >= 0 && b > 0 {
				values = append(values, a/b)
			}
		}

		cell := "–"
		if len(values) > 0 {
			cell = report.SpreadOf(values).String()
		}

		row = append(row, cell)
	}

	return row
}

// resultsOf returns the results of a server under a load, by round.
func (o *Outcome) resultsOf(load, server string) []Result {
	var list []Result
	for i := range o.Results {
		r := &o.Results[i]
		if r.Load == load && r.Server == server {
			list = append(list, *r)
		}
	}

	return list
}

// distinctValues returns the values of a field, in the order of the results.
func (o *Outcome) distinctValues(field func(*Result) string) []string {
	var list []string
	for i := range o.Results {
		v := field(&o.Results[i])
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}

	return list
}
