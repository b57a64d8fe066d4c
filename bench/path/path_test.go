package main

import (
	"testing"
	"time"

	"github.com/redroomrewards/realtime/bench/lab/labtest"
)

// A short run: what it measures means nothing, but nothing may be lost.
func TestEveryEventArrivesOnce(t *testing.T) {
	o, err := parseOptions([]string{
		"--rate", "120", "--accounts", "6", "--clients", "12", "--gateways", "2", "--warmup", "100ms", "--measure", "500ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	l := labtest.Open(t, "path")
	out, err := measureAll(t.Context(), l, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.faults(); err != nil {
		t.Error(err)
	}
	if r := &out.Results[0]; r.Operations != 60 || r.Events < 240 || r.CommitToFrame.P50 <= 0 {
		t.Errorf("%+v", r)
	}
	if err := out.Text(t.Output()); err != nil {
		t.Error(err)
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
	for _, args := range [][]string{{"--rate", "0"}, {"--accounts", "0"}, {"--clients", "0"}, {"--gateways", "0"}, {"--measure", "0s"}, {"--rounds", "0"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if o, err := parseOptions(nil); err != nil || o.measure != 20*time.Second {
		t.Errorf("got %+v, %v", o, err)
	}
}
