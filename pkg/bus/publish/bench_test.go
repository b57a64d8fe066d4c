package publish_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

// BenchmarkPublish measures time, processor time of Redis and allocations per event.
func BenchmarkPublish(b *testing.B) {
	cases := []struct{ batch, events, partitions int }{
		{100, 1, 1},
		{33, 3, 1},
		{100, 3, 1},
		{100, 3, 16},
		{1, 3, 16},
		{13, 3, 16},
		{26, 3, 16},
		{52, 3, 16},
		{104, 3, 16},
	}
	for _, c := range cases {
		b.Run(fmt.Sprintf("groups=%d/events=%d/partitions=%d", c.batch, c.events, c.partitions), func(b *testing.B) {
			rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
			p := publish.New(rdb, publish.Config{Keys: bus.Keys{Partitions: c.partitions}, MaxLen: 20_000})
			pubs := streamtest.NewBenchPublications(b.N/c.events+1, c.events)
			b.ReportAllocs()
			before := streamtest.ReadRedisCPU(b, rdb)
			b.ResetTimer()
			for len(pubs) > 0 {
				n := min(c.batch, len(pubs))
				streamtest.MustPublish(b, p, pubs[:n]...)
				pubs = pubs[n:]
			}
			b.StopTimer()
			b.ReportMetric((streamtest.ReadRedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
		})
	}
}

// BenchmarkPublishBare is the lower bound: the same entries as pipelined XADDs, without checks and
// hashes.
func BenchmarkPublishBare(b *testing.B) {
	rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
	pubs := streamtest.NewBenchPublications(b.N, 1)
	before := streamtest.ReadRedisCPU(b, rdb)
	b.ResetTimer()
	for len(pubs) > 0 {
		n := min(100, len(pubs))
		pipe := rdb.Pipeline()
		for i := range pubs[:n] {
			d := &pubs[i].Update.Deliveries[0]
			pipe.XAdd(b.Context(), &redis.XAddArgs{
				Stream: "s",
				MaxLen: 20_000,
				Approx: true,
				Values: []any{
					"id", d.ID, "type", d.Type, "account", d.Account, "seq", d.Seq, "key", pubs[i].Update.Key,
					"amount", d.Amount, "reason", d.Reason, "feature", d.Feature, "data", d.Data,
				},
			})
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		pubs = pubs[n:]
	}
	b.StopTimer()
	b.ReportMetric((streamtest.ReadRedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
}
