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
		got := keys.Partition(account)
		want := int(h.Sum32() % 16)
		if got != want {
			t.Errorf("partition of %q: got %d, want %d", account, got, want)
		}
	}
}
