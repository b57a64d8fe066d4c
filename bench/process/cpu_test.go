package process

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("4711 (post gres) :) S 42 4711 4711 0 -1 4194560 900 80000 0 3 150 50 700 300 20 0 1 0 12345 6789 100\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := stat{
		parent:  42,
		own:     2 * time.Second,
		reaped:  10 * time.Second,
		command: "post gres) :",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseStatRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "1 sh S 0", "1 (sh) S 0 1 1", "1 (sh) S x 1 1 0 -1 0 0 0 0 0 1 1 1 1 20"} {
		t.Run(text, func(t *testing.T) {
			if got, err := parseStat([]byte(text)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine([]byte("cpu  100 20 30 4000 500 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Machine{Busy: 1630 * time.Millisecond, Stolen: 800 * time.Millisecond}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseMachineRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu a 2 3 4 5 6 7 8 9"} {
		t.Run(text, func(t *testing.T) {
			if got, err := parseMachine([]byte(text)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

func TestIsDescendant(t *testing.T) {
	processes := map[int]stat{
		1: {},
		2: {parent: 1},
		3: {parent: 2},
		4: {parent: 1},
		8: {parent: 9}, // 8 and 9 are a cycle
		9: {parent: 8},
	}
	for pid, want := range map[int]bool{1: false, 2: true, 3: true, 4: false, 7: false, 8: false} {
		if got := isDescendant(processes, pid, 2); got != want {
			t.Errorf("process %d: got %t, want %t", pid, got, want)
		}
	}
}
