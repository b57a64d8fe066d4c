//go:build linux

package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/redroomrewards/realtime/bench/report"
)

// Column is a figure that each result has.
type Column struct {
	Name  string
	Ratio bool // is compared between servers
	Plain bool // the median alone says enough
}

// Result is what one server did under one load.
type Result struct {
	Round  int
	Server string
	Load   string
	Values []float64 // one for each column
	others float64
}

// NewResult notes what a window's other processes took, too.
func NewResult(load string, used *Used, values ...float64) Result {
	return Result{Load: load, Values: values, others: used.othersPercent}
}

// Outcome is all results. It implements report.Document.
type Outcome struct {
	Environment report.Environment
	Intro       string // a sentence
	LoadName    string // what the column of loads is called
	Columns     []Column
	Rounds      int
	Clients     int
	Repeated    int // measurements that were thrown away because others disturbed them
	Results     []Result

	name string
}

func (o *Outcome) write(to report.Options) error { return report.Write(os.Stdout, o, to) }

// Name implements report.Document.
func (o *Outcome) Name() string { return o.name }

// MarshalJSON names the figures.
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
		rows[i] = row{Round: r.Round, Server: r.Server, Load: r.Load, Figures: map[string]float64{}, OthersPercent: r.others}
		for c, v := range r.Values {
			rows[i].Figures[o.Columns[c].Name] = v
		}
	}
	return json.Marshal(map[string]any{
		"environment": &o.Environment, "rounds": o.Rounds, "clients": o.Clients, "repeated": o.Repeated, "results": rows,
	})
}

// line is a result in one line, for whoever waits.
func (o *Outcome) line(r *Result) string {
	parts := []string{r.Server, r.Load}
	for i, v := range r.Values {
		parts = append(parts, o.Columns[i].Name+" "+report.Number(v))
	}
	return strings.Join(parts, ", ")
}

// Text implements report.Document.
func (o *Outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n%s %d rounds%s.\n\n", &o.Environment, o.Intro, o.Rounds, report.Repeated(o.Repeated))
	if err != nil {
		return err
	}
	figures := report.NewTable(o.heads("median (min to max)", "server")...)
	ratios := report.NewTable(o.ratioHeads()...)
	compared := false
	loads, servers := o.distinct(func(r *Result) string { return r.Load }), o.distinct(func(r *Result) string { return r.Server })
	for _, load := range loads {
		for _, server := range servers {
			figures.Row(o.row(load, server)...)
			if server != servers[0] {
				ratios.Row(o.ratios(load, servers[0], server)...)
				compared = true
			}
		}
	}
	if err := figures.Write(w); err != nil || !compared {
		return err
	}
	if _, err := io.WriteString(w, "\n"); err != nil {
		return err
	}
	return ratios.Write(w)
}

func (o *Outcome) heads(first, second string) []string {
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

func (o *Outcome) row(load, server string) []string {
	row := []string{load, server}
	results := o.of(load, server)
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

func (o *Outcome) ratios(load, of, by string) []string {
	row := []string{load, of + " / " + by}
	ours, theirs := o.of(load, of), o.of(load, by)
	for i, c := range o.Columns {
		if !c.Ratio {
			continue
		}
		var values []float64
		for n := range min(len(ours), len(theirs)) {
			if a, b := ours[n].Values[i], theirs[n].Values[i]; a >= 0 && b > 0 {
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

// of are a server's results under a load, in order of the rounds.
func (o *Outcome) of(load, server string) []Result {
	var list []Result
	for i := range o.Results {
		if r := &o.Results[i]; r.Load == load && r.Server == server {
			list = append(list, *r)
		}
	}
	return list
}

func (o *Outcome) distinct(field func(*Result) string) []string {
	var list []string
	for i := range o.Results {
		if v := field(&o.Results[i]); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}
