package main

import (
	"math"
	"testing"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
)

// A short run of everything: what it measures means nothing, but each scenario
// must work and its ledger must be right.
func TestAllScenarios(t *testing.T) {
	o, err := parseOptions([]string{
		"--clients", "4", "--pairs", "1", "--accounts", "50,70", "--warmup", "50ms", "--measure", "250ms", "--pool", "4",
		"--scenarios", "baseline,core,core-hot,core-pairs,core-batch,baseline-hot", "--profile", t.TempDir() + "/core",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "ledger")
	out, err := measure(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Results) != 12 || len(out.Ratios) != 18 {
		t.Fatalf("%d results and %d ratios, want 12 and 18", len(out.Results), len(out.Ratios))
	}
	for i := range out.Results {
		if r := &out.Results[i]; r.Operations == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.WALBytes <= 0 {
			t.Errorf("%s: %+v", r.Scenario, r)
		}
	}
	if err := out.Text(t.Output()); err != nil {
		t.Error(err)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--clients", "0"}, {"--clients", "64,"}, {"--clients", "1000"}, {"--scenarios", "core,blnk"}, {"--pairs", "0"},
		{"--accounts", "0"}, {"--measure", "0s"}, {"--pool", "-1"}, {"--scenarios", "core,other"},
	} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	out := &outcome{Accounts: []int{0}}
	for round, v := range [][2]float64{{100, 900}, {200, 1000}, {100, 700}} {
		out.Results = append(out.Results,
			result{Scenario: "baseline", Clients: 64, Round: round + 1, PerSecond: v[0], P50: 10, ServerCPU: 4},
			result{Scenario: "core", Clients: 64, Round: round + 1, PerSecond: v[1], P99: 5, ServerCPU: 1, PostgresCPU: 1})
	}
	out.compare()
	if len(out.Ratios) != 3 {
		t.Fatalf("%d ratios, want 3: %+v", len(out.Ratios), out.Ratios)
	}
	for i, want := range []float64{7, 0.5, 0.5} { // not 9, of the medians
		if got := out.Ratios[i].Median; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", out.Ratios[i].Name, got, want)
		}
	}
	if r := out.Ratios[0]; r.Min != 5 || r.Max != 9 {
		t.Errorf("from %v to %v, want 5 to 9", r.Min, r.Max)
	}
}

func TestCutEscrow(t *testing.T) {
	const id = "0198c0de-0000-7000-8000-0123456789ab"
	dst := make([]byte, len(id))
	if !cutEscrow(dst, []byte(`{"operation":"hold","escrowId":"`+id+`","amount":1}`)) || string(dst) != id {
		t.Errorf("got %q", dst)
	}
	for _, bad := range []string{"", `{"amount":1}`, `{"escrowId":"` + id, `{"escrowId":"` + id + `0"}`, `{"escrowId":""}`} {
		if cutEscrow(dst, []byte(bad)) {
			t.Errorf("%q: got %q, want none", bad, dst)
		}
	}
}
