package main

import (
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/bench/harness/harnesstest"
	"github.com/redroomrewards/realtime/bench/stack"
)

// A short run: what it measures means nothing, but nothing may be lost.
func TestEveryEventArrivesOnce(t *testing.T) {
	o, err := parseOptions([]string{
		"--rate", "120,60", "--accounts", "6", "--clients", "12", "--gateways", "2", "--idle", "50ms", "--warmup", "100ms", "--measure", "500ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := harnesstest.Open(t, "path")
	root, err := stack.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o.otherGateway, err = stack.Build(t.Context(), root, "cmd/gateway", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	out, err := measureAll(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.faults(); err != nil {
		t.Error(err)
	}
	if len(out.Results) != 4 {
		t.Fatalf("%d results, want 2 rates of 2 builds", len(out.Results))
	}
	for i, want := range []struct {
		rate  int
		build string
	}{{120, "this"}, {120, "other"}, {60, "this"}, {60, "other"}} {
		r := &out.Results[i]
		if r.Rate != want.rate || r.Build != want.build {
			t.Errorf("result %d is of rate %d and build %s, want %+v", i, r.Rate, r.Build, want)
		}
		if r.Operations != want.rate/2 || r.Events < uint64(2*want.rate) || r.CommitToFrame.P50 <= 0 || r.Idle == nil {
			t.Errorf("%+v", r)
		}
		if r.RequestToFrame.P50 <= 0 || r.RequestToFrame.P50 < r.AnswerToFrame.P50 {
			t.Errorf("request to frame %+v, answer to frame %+v", r.RequestToFrame, r.AnswerToFrame)
		}
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
				Round: i + 1, Rate: 200, Build: build, RequestToFrame: latency{P50: p50[n]}, Idle: &idleCPU{Gateway: 0.5, Redis: 0.25},
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
			t.Errorf("%q is not in\n%s", want, b.String())
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
			t.Errorf("%q is in\n%s", unwanted, b.String())
		}
	}
}

func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		seqs []int64
		want faults
	}{
		"all":              {[]int64{5, 6, 7, 8}, faults{}},
		"one lost":         {[]int64{5, 7, 8}, faults{Lost: 1, OutOfOrder: 1}},
		"the last lost":    {[]int64{5, 6, 7}, faults{Lost: 1}},
		"one twice":        {[]int64{5, 6, 6, 7, 8}, faults{Twice: 1, OutOfOrder: 1}},
		"two changed over": {[]int64{5, 7, 6, 8}, faults{OutOfOrder: 3}},
		"nothing":          {nil, faults{Lost: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watcher{start: 4}
			for _, seq := range tt.seqs {
				w.seen = append(w.seen, sighting{seq: seq, id: string(rune('a' + seq))})
			}
			var got faults
			if got.add(w, 8); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOperationOf(t *testing.T) {
	a := &account{start: 1, done: []operation{{seq: 4}, {seq: 6}}}
	for seq, want := range map[int64]int64{0: 0, 1: 0, 2: 4, 4: 4, 5: 6, 6: 6, 7: 0} {
		got := int64(0)
		if o := a.operationOf(seq); o != nil {
			got = o.seq
		}
		if got != want {
			t.Errorf("seq %d: got the operation up to %d, want %d", seq, got, want)
		}
	}
}

func TestEachWayOutOfEscrowHasItsTurn(t *testing.T) {
	a := &account{escrow: "e"}
	seen := make(map[string]bool)
	for a.count = 2; a.count <= 12; a.count += 2 { // the credit is 0, holds are odd
		path, _ := a.ending()
		seen[path] = true
	}
	if len(seen) != 3 {
		t.Errorf("got %v", seen)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--rate", "0"}, {"--rate", "200,"}, {"--accounts", "0"}, {"--clients", "0"}, {"--gateways", "0"}, {"--idle", "-1s"}, {"--measure", "0s"}, {"--rounds", "0"},
	} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.measure != 20*time.Second {
		t.Errorf("got %+v, %v", o, err)
	}
}
