package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
)

// TestMain is also the program that a trial starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "trial" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A short run: what it costs means nothing, but each trial must do what its name says.
func TestEveryVariantWorks(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=10") // else each trial ends a second later
	o, err := parseOptions([]string{"--events", "2000", "--batch", "200", "--rounds", "1"})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "bus")
	out, err := measureAll(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range append(publishing(), consuming()...) {
		some := out.of(v.name)
		if len(some) != 1 || some[0].CPU <= 0 || some[0].Redis <= 0 {
			t.Errorf("%s: %+v", v.name, some)
		}
	}
	if r := out.of(retry4)[0]; r.Markers <= 0 {
		t.Error("no subscription wrote a done marker while another one waited for its second attempt")
	}
	var text bytes.Buffer
	if err := out.Text(&text); err != nil {
		t.Error(err)
	}
	if strings.Contains(text.String(), "NaN") {
		t.Error(text.String())
	}
}

func TestDifferences(t *testing.T) {
	o := &outcome{Rounds: 2}
	for round, factor := range []float64{1, 2} {
		for i, v := range []string{bus1, bus4, retry1, retry4} {
			o.Results = append(o.Results, result{Round: round + 1, Variant: v, figures: figures{CPU: factor * []float64{2, 5, 4, 10}[i]}})
		}
	}
	if d := o.difference(cpu, bus4, bus1); d.Min != 3 || d.Max != 6 {
		t.Errorf("three more subscriptions: %+v", d)
	}
	if d := o.difference(cpu, retry4, bus4, retry1, bus1); d.Min != 3 || d.Max != 6 {
		t.Errorf("markers: %+v", d)
	}
	if r := o.ratio(bus4, bus1, cpu); r.Min != 2.5 || r.Max != 2.5 {
		t.Errorf("ratio: %+v", r)
	}
	if got := bytesText(173*1000*3600) + ", " + bytesText(60e6); got != "623 MB, 60.0 MB" {
		t.Error(got)
	}
}
