package bus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// nestArrays returns arrays that nest that many levels deep.
func nestArrays(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func TestFindDeeper(t *testing.T) {
	for name, tc := range map[string]struct {
		data string
		want int // with a limit of 3
	}{
		"nothing":                  {``, -1},
		"no brackets":              {`"text" 17`, -1},
		"3 levels":                 {nestArrays(3), -1},
		"4 levels":                 {nestArrays(4), 0},
		"100,000 levels":           {nestArrays(100_000), 0},
		"4 levels without end":     {` [[[[`, 1},
		"objects and arrays":       {`{"a":[{"b":[]}]}`, 0},
		"in the second value":      {`{"a":1}` + "\n" + nestArrays(4), 8},
		"in the last part":         {`[[],[[]],[[[]]]]`, 0},
		"many values of 3 levels":  {strings.Repeat(nestArrays(3), 100), -1},
		"brackets in a string":     {`"[[[[" {"[[[[":"]]"}`, -1},
		"brackets after an escape": {`["\"[[[[\\",[[[]]]]`, 0},
		"escape at the end":        {`["\`, -1},
		"more ends than starts":    {`]]}}` + nestArrays(3), -1},
		"after more ends":          {`]]` + nestArrays(4), 2},
	} {
		t.Run(name, func(t *testing.T) {
			got := bus.FindDeeper([]byte(tc.data), 3)
			if got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestScanValue(t *testing.T) {
	for name, tc := range map[string]struct {
		data       string
		start, end int
		deeper     bool
	}{
		"no value":      {`"[" 17`, 6, 6, false},
		"first of two":  {`: {"a":"}"}, "b":[[[[]]]]`, 2, 11, false},
		"incomplete":    {` {"a":[`, 1, 7, false},
		"4 levels":      {`"x" [[[[]]]]`, 4, 7, true},
		"second deeper": {`[][[[[]]]]`, 0, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			start, end, deeper := bus.ScanValue([]byte(tc.data), 3)
			if start != tc.start || end != tc.end || deeper != tc.deeper {
				t.Errorf("got %d, %d, %v, want %d, %d, %v", start, end, deeper, tc.start, tc.end, tc.deeper)
			}
		})
	}
}

func TestNestsDeeperAllocatesNothing(t *testing.T) {
	data := []byte(strings.Repeat(`{"a":[`, 5_000))
	for _, limit := range []int{8, 100_000} {
		allocations := testing.AllocsPerRun(10, func() { _ = bus.NestsDeeper(data, limit) })
		if allocations != 0 {
			t.Errorf("limit %d: got %v allocations, want 0", limit, allocations)
		}
	}
}

// For JSON, NestsDeeper agrees with a JSON decoder. For anything else it does not panic.
func FuzzNestsDeeper(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":"]}\"["}]}`), 3)
	f.Add([]byte(`[[]] [[[]]]`), 2)
	f.Add([]byte(`]"\`), 0)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		got := bus.NestsDeeper(data, limit)
		depth, isJSON := jsonDepth(data)
		if !isJSON || limit < 0 {
			return
		}

		want := depth > limit
		if got != want {
			t.Errorf("limit %d: got %v, want %v for %q", limit, got, want, data)
		}
	})
}

// jsonDepth returns how deep the values in data nest. It returns false if data is not JSON.
func jsonDepth(data []byte) (deepest int, isJSON bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	depth := 0
	for {
		token, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF):
			return deepest, depth == 0
		case err != nil:
			return 0, false
		}

		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		deepest = max(deepest, depth)
	}
}
