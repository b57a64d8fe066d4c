package bus_test

import (
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func TestFormatPartitions(t *testing.T) {
	for _, test := range []struct {
		partitions []int
		want       string
	}{
		{nil, ""},
		{[]int{3}, "3"},
		{[]int{7, 2, 1, 0, 9, 8}, "0 to 2, 7 to 9"},
		{[]int{5, 0, 2}, "0, 2, 5"},
	} {
		got := bus.FormatPartitions(test.partitions)
		if got != test.want {
			t.Errorf("%v: got %q, want %q", test.partitions, got, test.want)
		}
	}
}
