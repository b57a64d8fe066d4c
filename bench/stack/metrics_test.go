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
	want := Metrics{"a_total": 5, "b": 1.5e6, "h_bucket": 7}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if grown := got.Since(Metrics{"a_total": 1}); grown["a_total"] != 4 || grown["b"] != 1.5e6 {
		t.Errorf("grown by %v", grown)
	}
	for _, bad := range []string{"a", "a{b=\"c\" 3", "a x"} {
		if got, err := parseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}
