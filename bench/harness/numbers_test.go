package harness

import (
	"slices"
	"testing"
)

func TestParseNumbers(t *testing.T) {
	got, err := ParseNumbers("rate", "200,1000", 1000)
	if err != nil || !slices.Equal(got, []int{200, 1000}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, list := range []string{"", "0", "-1", "1,", "x", "1001", "1.5"} {
		if got, err := ParseNumbers("rate", list, 1000); err == nil {
			t.Errorf("%q: got %v, want an error", list, got)
		}
	}
}
