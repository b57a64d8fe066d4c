package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
)

// TestMain runs the tests, or one trial in the process that a trial starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "trial" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The run is short, so its figures mean nothing. But each trial must work.
func TestEveryVariantWorks(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=10") // without it each trial exits a second later
	o, err := parseOptions([]string{"--events", "2000", "--batch", "200", "--rounds", "1"})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "bus")
	out, err := measureAll(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range append(publishVariants(), consumeVariants()...) {
		t.Run(v.name, func(t *testing.T) {
			results := out.resultsOf(v.name)
			if len(results) != 1 {
				t.Fatalf("got %d results, want 1", len(results))
			}
			if got := results[0].CPU; got <= 0 {
				t.Errorf("got CPU time %v, want more than 0", got)
			}
			if got := results[0].Redis; got <= 0 {
				t.Errorf("got CPU time of Redis %v, want more than 0", got)
			}
		})
	}
	if got := out.resultsOf(retry4)[0].Markers; got <= 0 {
		t.Errorf("%s: got %v done markers, want more than 0", retry4, got)
	}
	var text bytes.Buffer
	if err := out.Text(&text); err != nil {
		t.Error(err)
	}
	if strings.Contains(text.String(), "NaN") {
		t.Errorf("got NaN in\n%s", text.String())
	}
}

func TestFiguresCompareTrialsOfTheSameRound(t *testing.T) {
	o := &outcome{Rounds: 2}
	for round, factor := range []float64{1, 2} {
		for i, v := range []string{bus1, bus4, retry1, retry4} {
			o.Results = append(o.Results, result{Round: round + 1, Variant: v, figures: figures{CPU: factor * []float64{2, 5, 4, 10}[i]}})
		}
	}
	if got := o.differenceOf(cpuMicros, bus4, bus1); got.Min != 3 || got.Max != 6 {
		t.Errorf("three more subscriptions: got %+v, want 3 to 6", got)
	}
	if got := o.differenceOf(cpuMicros, retry4, bus4, retry1, bus1); got.Min != 3 || got.Max != 6 {
		t.Errorf("done markers: got %+v, want 3 to 6", got)
	}
	if got := o.ratioOf(bus4, bus1, cpuMicros); got.Min != 2.5 || got.Max != 2.5 {
		t.Errorf("ratio: got %+v, want 2.5 to 2.5", got)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[float64]string{173 * 1000 * 3600: "623 MB", 60e6: "60.0 MB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%v: got %s, want %s", n, got, want)
		}
	}
}
