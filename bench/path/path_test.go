package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
	"github.com/redroomrewards/realtime/bench/stack"
)

// The run is short, so its figures mean nothing. But no event may be lost.
func TestEveryEventArrivesOnce(t *testing.T) {
	o, err := parseOptions([]string{
		"--rate", "120,60",
		"--accounts", "6",
		"--clients", "12",
		"--gateways", "2",
		"--idle", "50ms",
		"--warmup", "100ms",
		"--measure", "500ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "path")
	root, err := stack.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.otherGateway, err = stack.Build(t.Context(), root, "cmd/gateway", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := measureAll(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.faultError(); err != nil {
		t.Error(err)
	}
	if len(out.Results) != 4 {
		t.Fatalf("got %d results, want 4: 2 rates of 2 builds", len(out.Results))
	}
	for i, want := range []struct {
		rate  int
		build string
	}{{120, "this"}, {120, "other"}, {60, "this"}, {60, "other"}} {
		r := &out.Results[i]
		t.Run(fmt.Sprintf("%d per second, %s build", want.rate, want.build), func(t *testing.T) {
			if r.Rate != want.rate || r.Build != want.build {
				t.Errorf("got rate %d and build %s, want %+v", r.Rate, r.Build, want)
			}
			if r.Operations != want.rate/2 {
				t.Errorf("got %d operations, want %d", r.Operations, want.rate/2)
			}
			if r.Events < uint64(2*want.rate) {
				t.Errorf("got %d events, want at least %d", r.Events, 2*want.rate)
			}
			if r.CommitToFrame.P50 <= 0 {
				t.Errorf("commit to frame: got p50 %v, want more than 0", r.CommitToFrame.P50)
			}
			if r.RequestToFrame.P50 <= 0 {
				t.Errorf("request to frame: got p50 %v, want more than 0", r.RequestToFrame.P50)
			}
			if r.RequestToFrame.P50 < r.AnswerToFrame.P50 {
				t.Errorf("got p50 %v from the request and %v from the answer, want the first to be larger", r.RequestToFrame.P50, r.AnswerToFrame.P50)
			}
			if r.Idle == nil {
				t.Error("got no idle CPU time, want some")
			}
		})
	}
	if err := out.Text(t.Output()); err != nil {
		t.Error(err)
	}
}

func TestTextComparesTheBuildsRoundByRound(t *testing.T) {
	out := &outcome{Rates: []int{200}, IdleSeconds: 5}
	for i, p50 := range [][2]float64{{1, 2}, {6, 3}, {3, 4}} {
		for n, build := range []string{"this", "other"} {
			out.Results = append(out.Results, result{
				Round:          i + 1,
				Rate:           200,
				Build:          build,
				RequestToFrame: latency{P50: p50[n]},
				Idle:           &idleCPU{Gateway: 0.5, Redis: 0.25},
			})
		}
	}
	var b strings.Builder
	if err := out.Text(&b); err != nil {
		t.Fatal(err)
	}
	const name = "| HTTP request to frame at the client"
	for _, want := range []string{
		"| this | 3.00 (1.00 to 6.00) |", "| other | 3.00 (2.00 to 4.00) |", // medians of each build
		name + ", p50 | 200 | 0.75 (0.50 to 2.00) | 3 |", // median of the ratios
		name + ", p99 | 200 | – | 0 |",
		"| this build | 0.00 | 0.50 | 0.25 | 0.00 | 3 |",
	} {
		if text := strings.Join(strings.Fields(b.String()), " "); !strings.Contains(text, want) {
			t.Errorf("got text\n%s\nwant %q in it", b.String(), want)
		}
	}
}

func TestTextWithoutOtherBuildAndIdleTime(t *testing.T) {
	out := &outcome{Rates: []int{200}, Results: []result{{Round: 1, Rate: 200, Build: "this"}}}
	var b strings.Builder
	if err := out.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"the other", "no operations"} {
		if strings.Contains(b.String(), unwanted) {
			t.Errorf("got text\n%s\nwant no %q in it", b.String(), unwanted)
		}
	}
}

func TestAddEventsCountsFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		seqs []int64
		want faults
	}{
		{"all", []int64{5, 6, 7, 8}, faults{}},
		{"one lost", []int64{5, 7, 8}, faults{Lost: 1, OutOfOrder: 1}},
		{"the last lost", []int64{5, 6, 7}, faults{Lost: 1}},
		{"one twice", []int64{5, 6, 6, 7, 8}, faults{Twice: 1, OutOfOrder: 1}},
		{"two in the wrong order", []int64{5, 7, 6, 8}, faults{OutOfOrder: 3}},
		{"none", nil, faults{Lost: 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &watcher{start: 4}
			for _, seq := range tt.seqs {
				w.seen = append(w.seen, sighting{seq: seq, id: string(rune('a' + seq))})
			}
			var got faults
			got.addEvents(w, 8)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOperationOfFindsTheOperationOfAnEvent(t *testing.T) {
	a := &account{start: 1, done: []operation{{seq: 4}, {seq: 6}}}
	for seq, want := range map[int64]int64{0: 0, 1: 0, 2: 4, 4: 4, 5: 6, 6: 6, 7: 0} {
		got := int64(0)
		o := a.operationOf(seq)
		if o != nil {
			got = o.seq
		}
		if got != want {
			t.Errorf("seq %d: got the operation with seq %d, want %d", seq, got, want)
		}
	}
}

func TestClosingRequestsAlternate(t *testing.T) {
	a := &account{escrow: "e"}
	seen := make(map[string]bool)
	for a.count = 2; a.count <= 12; a.count += 2 { // number 0 is the credit, and odd numbers are holds
		path, _ := a.closingRequest()
		seen[path] = true
	}
	if len(seen) != 3 {
		t.Errorf("got %d kinds of requests, want 3: %v", len(seen), seen)
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--rate", "0"},
		{"--rate", "200,"},
		{"--accounts", "0"},
		{"--clients", "0"},
		{"--gateways", "0"},
		{"--idle", "-1s"},
		{"--measure", "0s"},
		{"--rounds", "0"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if _, err := parseOptions(args); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}

func TestDefaultOptionsAreValid(t *testing.T) {
	o, err := parseOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := 20 * time.Second; o.measure != want {
		t.Errorf("got a measurement of %s, want %s", o.measure, want)
	}
}
