package publish_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

func TestPublishCallsEachClusterPartitionSeparately(t *testing.T) {
	server := streamtest.StartClusterOfOne(t)
	for _, url := range []string{"redis+cluster://" + server.Addr(), server.URL()} {
		scheme, _, _ := strings.Cut(url, ":")
		t.Run(scheme, func(t *testing.T) {
			rdb := streamtest.Open(t, url)
			keys := bus.Keys{Namespace: t.Name(), Partitions: 16}
			p := publish.New(rdb, publish.Config{Keys: keys, MaxUpdates: 10})
			for seq := int64(1); seq <= 4; seq += 2 {
				var pubs []publish.Publication
				for i := range 50 {
					account := fmt.Sprintf("user:%d", i)
					pubs = append(pubs, streamtest.NewPublication(account, seq, 1), streamtest.NewPublication(account, seq+1, 1))
				}
				for i, o := range streamtest.MustPublish(t, p, pubs...) {
					if !o.Done() {
						t.Fatalf("publication %d: got outcome %v, want Published or Duplicate", i, o)
					}
				}
			}
			for i := range 50 {
				requireSeqs(t, rdb, keys, fmt.Sprintf("user:%d", i), "[1 2 3 4]")
			}
		})
	}
}
