package bus_test

import (
	"hash/fnv"
	"testing"

	"github.com/redroomrewards/realtime/pkg/bus"
)

func TestPartitionIsFNV1a(t *testing.T) {
	keys := bus.Keys{Partitions: 16}
	for _, account := range []string{"", "user:1", "model:Zed~.@-", "user:\xff\x00"} {
		h := fnv.New32a()
		_, _ = h.Write([]byte(account))
		if got, want := keys.Partition(account), int(h.Sum32()%16); got != want {
			t.Errorf("%q: partition %d; want %d", account, got, want)
		}
	}
}
