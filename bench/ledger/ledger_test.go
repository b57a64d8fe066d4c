package main

import (
	"math"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
)

// The run is short, so its figures mean nothing. But each scenario must work and its ledger must be
// right.
func TestAllScenarios(t *testing.T) {
	o, err := parseOptions([]string{
		"--clients", "4", "--pairs", "1", "--accounts", "50,70", "--warmup", "50ms", "--measure", "1s", "--pool", "4",
		"--scenarios", "baseline,core,core-hot,core-pairs,core-batch,baseline-hot", "--profile", t.TempDir() + "/core",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "ledger")
	out, err := measureLedger(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(out.Results); got != 12 {
		t.Errorf("got %d results, want 12", got)
	}
	if got := len(out.Ratios); got != 18 {
		t.Errorf("got %d ratios, want 18", got)
	}
	for i := range out.Results {
		r := &out.Results[i]
		if r.Operations == 0 {
			t.Errorf("%s: got 0 operations, want more", r.Scenario)
		}
		if r.P50 <= 0 || r.P99 < r.P50 {
			t.Errorf("%s: got p50 %v and p99 %v, want p99 >= p50 > 0", r.Scenario, r.P50, r.P99)
		}
		if r.WALBytes <= 0 {
			t.Errorf("%s: got %v bytes of WAL, want more than 0", r.Scenario, r.WALBytes)
		}
	}
	if err := out.Text(t.Output()); err != nil {
		t.Error(err)
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--clients", "0"},
		{"--clients", "64,"},
		{"--clients", "1000"},
		{"--scenarios", "core,blnk"},
		{"--pairs", "0"},
		{"--accounts", "0"},
		{"--measure", "0s"},
		{"--pool", "-1"},
		{"--scenarios", "core,other"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if _, err := parseOptions(args); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}

func TestRatiosCompareResultsOfTheSameRound(t *testing.T) {
	out := &outcome{Accounts: []int{0}}
	for round, v := range [][2]float64{{100, 900}, {200, 1000}, {100, 700}} {
		out.Results = append(out.Results,
			result{Scenario: "baseline", Clients: 64, Round: round + 1, PerSecond: v[0], P50: 10, ServerCPU: 4},
			result{Scenario: "core", Clients: 64, Round: round + 1, PerSecond: v[1], P99: 5, ServerCPU: 1, PostgresCPU: 1})
	}
	out.addRatios()
	if len(out.Ratios) != 3 {
		t.Fatalf("got %d ratios, want 3: %+v", len(out.Ratios), out.Ratios)
	}
	for i, want := range []float64{7, 0.5, 0.5} { // the ratio of the medians would be 9
		if got := out.Ratios[i].Median; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", out.Ratios[i].Name, got, want)
		}
	}
	if r := out.Ratios[0]; r.Min != 5 || r.Max != 9 {
		t.Errorf("got %v to %v, want 5 to 9", r.Min, r.Max)
	}
}

func TestCopyEscrowID(t *testing.T) {
	const id = "0198c0de-0000-7000-8000-0123456789ab"
	dst := make([]byte, len(id))
	if !copyEscrowID(dst, []byte(`{"operation":"hold","escrowId":"`+id+`","amount":1}`)) {
		t.Error("got no escrowId, want one")
	}
	if string(dst) != id {
		t.Errorf("got %q, want %q", dst, id)
	}
	for _, receipt := range []string{"", `{"amount":1}`, `{"escrowId":"` + id, `{"escrowId":"` + id + `0"}`, `{"escrowId":""}`} {
		if copyEscrowID(dst, []byte(receipt)) {
			t.Errorf("%q: got %q, want no escrowId", receipt, dst)
		}
	}
}
