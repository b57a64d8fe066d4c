package bus_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

func publications(groups []bus.Group) []bus.Publication {
	pubs := make([]bus.Publication, len(groups))
	for i := range groups {
		pubs[i].Group = groups[i]
	}
	return pubs
}

// BenchmarkPublish reports time, processor time of Redis and allocations per event.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct{ batch, events, partitions int }{{100, 1, 1}, {33, 3, 1}, {100, 3, 1}, {100, 3, 16}, {1, 3, 16}, {13, 3, 16}, {26, 3, 16}, {52, 3, 16}, {104, 3, 16}} {
		b.Run(fmt.Sprintf("groups=%d/events=%d/partitions=%d", c.batch, c.events, c.partitions), func(b *testing.B) {
			rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
			p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: bus.Keys{Partitions: c.partitions}, MaxLen: 20_000})
			pubs := publications(streamtest.MakeBenchGroups(b.N/c.events+1, c.events))
			b.ReportAllocs()
			before := streamtest.RedisCPU(b, rdb)
			b.ResetTimer()
			for len(pubs) > 0 {
				n := min(c.batch, len(pubs))
				publish(b, p, pubs[:n]...)
				pubs = pubs[n:]
			}
			b.StopTimer()
			b.ReportMetric((streamtest.RedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
		})
	}
}

// BenchmarkPublishBare is the floor: the same entries as pipelined XADDs, no guard, no hash.
func BenchmarkPublishBare(b *testing.B) {
	rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
	groups := streamtest.MakeBenchGroups(b.N, 1)
	before := streamtest.RedisCPU(b, rdb)
	b.ResetTimer()
	for len(groups) > 0 {
		n := min(100, len(groups))
		pipe := rdb.Pipeline()
		for i := range groups[:n] {
			d := &groups[i].Deliveries[0]
			pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "s", MaxLen: 20_000, Approx: true, Values: []any{
				"id", d.ID, "type", d.Type, "account", d.Account, "seq", d.Seq, "key", groups[i].Key,
				"amount", d.Amount, "reason", d.Reason, "feature", d.Feature, "data", d.Data,
			}})
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		groups = groups[n:]
	}
	b.StopTimer()
	b.ReportMetric((streamtest.RedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
}

// BenchmarkRelay reports what a hold's way from the commit to the stream costs, offered as fast as the queue takes it.
func BenchmarkRelay(b *testing.B) {
	rdb, src := streamtest.Open(b, testenv.RedisServer(b).URL()), newMemory()
	relay, _ := relayWith(b, src, rdb, bus.Keys{}.WithDefaults(), bus.RelayConfig{Sweep: time.Hour, MaxQueue: 1 << 30})
	rows := make([]bus.Pending, b.N)
	for i, g := range streamtest.MakeBenchGroups(b.N, 3) {
		rows[i] = src.commit(src.reserve(), 3, g.Account)
	}
	before := streamtest.RedisCPU(b, rdb)
	b.ResetTimer()
	for chunk := range slices.Chunk(rows, 100) {
		relay.Offer(chunk)
	}
	streamtest.WaitFor(b, "an empty outbox", src.empty)
	b.StopTimer()
	b.ReportMetric((streamtest.RedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
