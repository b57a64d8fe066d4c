//go:build linux

package main

import (
	"fmt"
	"io"

	"github.com/redroomrewards/realtime/bench/report"
)

// outcome is what was measured, by library.
type outcome struct {
	Environment      report.Environment   `json:"environment"`
	Options          options              `json:"-"`
	Size             map[string]float64   `json:"sizeBytes"`
	OpenMilliseconds map[string][]float64 `json:"openMilliseconds"`
	CPUMilliseconds  map[string]float64   `json:"cpuMillisecondsPer1000Events"`
	SilenceSeconds   map[string][]float64 `json:"silenceSeconds"`
	RecoverySeconds  map[string][]float64 `json:"recoverySeconds"`
	Restarts         map[string]seen      `json:"restarts"`
}

// Name implements report.Document.
func (o *outcome) Name() string { return "sdk" }

// Text implements report.Document.
func (o *outcome) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n\n", &o.Environment)
	if err != nil {
		return err
	}

	const ours, theirs = "realtime", "centrifuge"
	t := report.NewTable("", "@redroomrewards/realtime", "centrifuge-js")
	row := func(name string, cell func(library string) string) { t.Row(name, cell(ours), cell(theirs)) }
	row("size, minified and compressed, kB", func(library string) string {
		return fmt.Sprintf("%.1f", o.Size[library]/1000)
	})
	row(fmt.Sprintf("from open to the first balance, ms, %d times", len(o.OpenMilliseconds[ours])), func(library string) string {
		return report.SpreadOf(o.OpenMilliseconds[library]).String()
	})
	row(fmt.Sprintf("CPU time of 1,000 events at %d/s, ms", o.Options.rate), func(library string) string {
		return fmt.Sprintf("%.1f", o.CPUMilliseconds[library])
	})
	row(fmt.Sprintf("until a dead network is noticed, s, %d times", len(o.SilenceSeconds[ours])), func(library string) string {
		return report.SpreadOf(o.SilenceSeconds[library]).String()
	})
	row(fmt.Sprintf("until events go on after a restart, s, %d times", len(o.RecoverySeconds[ours])), func(library string) string {
		return report.SpreadOf(o.RecoverySeconds[library]).String()
	})
	row(fmt.Sprintf("events over %d restarts", o.Options.restarts), func(library string) string {
		return fmt.Sprint(o.Restarts[library].Events)
	})
	row("of them lost / repeated / reordered", func(library string) string {
		r := o.Restarts[library]
		return fmt.Sprintf("%d / %d / %d", r.Lost, r.Repeated, r.Reordered)
	})
	row("times that the state of an account replaced events", func(library string) string {
		return fmt.Sprint(o.Restarts[library].Replaced)
	})
	return t.Write(w)
}
