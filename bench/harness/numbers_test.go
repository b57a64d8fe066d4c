package harness

import (
	"slices"
	"testing"
)

func TestParseNumbers(t *testing.T) {
	got, err := ParseNumbers("rate", "200,1000", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{200, 1000}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseNumbersRefusesBadLists(t *testing.T) {
	for _, list := range []string{"", "0", "-1", "1,", "x", "1001", "1.5"} {
		t.Run(list, func(t *testing.T) {
			if got, err := ParseNumbers("rate", list, 1000); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}
