package stack

import (
	"maps"
	"strings"
	"testing"
)

func TestParseMetrics(t *testing.T) {
	const text = `# HELP a_total Something.
# TYPE a_total counter
a_total{kind="x"} 2
a_total{kind="y z} {"} 3 1700000000000
b 1.5e+06

h_bucket{le="+Inf"} 7
`
	got, err := parseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Metrics{"a_total": 5, "b": 1.5e6, "h_bucket": 7}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseMetricsRefusesOtherText(t *testing.T) {
	for _, text := range []string{"a", "a{b=\"c\" 3", "a x"} {
		t.Run(text, func(t *testing.T) {
			if got, err := parseMetrics(strings.NewReader(text)); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestSinceReturnsTheIncrease(t *testing.T) {
	got := Metrics{"a": 5, "b": 2}.Since(Metrics{"a": 1})
	if want := (Metrics{"a": 4, "b": 2}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
