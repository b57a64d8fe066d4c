package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// redisCPU is the processor time that the server has used, in microseconds.
func redisCPU(b *testing.B, rdb redis.UniversalClient) float64 {
	b.Helper()
	info, err := rdb.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, _ := strconv.ParseFloat(value, 64)
			total += seconds * 1e6
		}
	}
	return total
}

// benchGroups makes groups of a hold each (three events of 300 bytes) or of one event, over 1,000 accounts.
func benchGroups(n, events int) []bus.Publication {
	data := []byte(`{"pad":"` + strings.Repeat("x", 290) + `"}`)
	pubs := make([]bus.Publication, n)
	for i := range pubs {
		g := makeGroup(fmt.Sprintf("user:%06d", i%1000), int64(i/1000*events)+1, events)
		for j := range g.Deliveries {
			g.Deliveries[j].ID = "0198c0de-0000-7000-8000-" + fmt.Sprintf("%012d", i*events+j)
			g.Deliveries[j].Data = data
			g.Deliveries[j].Feature = "chip_menu"
		}
		g.Key = "0198c0de-1111-7000-8000-" + fmt.Sprintf("%012d", i) + ":" + g.Account
		pubs[i].Group = g
	}
	return pubs
}

// BenchmarkPublish reports time, processor time of Redis and allocations per event.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct{ batch, events, partitions int }{{100, 1, 1}, {33, 3, 1}, {100, 3, 1}, {100, 3, 16}, {1, 3, 16}, {13, 3, 16}, {26, 3, 16}, {52, 3, 16}, {104, 3, 16}} {
		b.Run(fmt.Sprintf("groups=%d/events=%d/partitions=%d", c.batch, c.events, c.partitions), func(b *testing.B) {
			rdb := open(b, testenv.RedisServer(b).URL())
			p := bus.NewPublisher(rdb, bus.PublisherConfig{Keys: bus.Keys{Partitions: c.partitions}, MaxLen: 20_000})
			pubs := benchGroups(b.N/c.events+1, c.events)
			b.ReportAllocs()
			before := redisCPU(b, rdb)
			b.ResetTimer()
			for len(pubs) > 0 {
				n := min(c.batch, len(pubs))
				publish(b, p, pubs[:n]...)
				pubs = pubs[n:]
			}
			b.StopTimer()
			b.ReportMetric((redisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
		})
	}
}

// BenchmarkPublishBare is the floor: the same entries as pipelined XADDs, no guard, no hash.
func BenchmarkPublishBare(b *testing.B) {
	rdb := open(b, testenv.RedisServer(b).URL())
	pubs := benchGroups(b.N, 1)
	before := redisCPU(b, rdb)
	b.ResetTimer()
	for len(pubs) > 0 {
		n := min(100, len(pubs))
		pipe := rdb.Pipeline()
		for i := range pubs[:n] {
			d := &pubs[i].Group.Deliveries[0]
			pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "s", MaxLen: 20_000, Approx: true, Values: []any{
				"id", d.ID, "type", d.Type, "account", d.Account, "seq", d.Seq, "key", pubs[i].Group.Key,
				"amount", d.Amount, "reason", d.Reason, "feature", d.Feature, "data", d.Data,
			}})
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		pubs = pubs[n:]
	}
	b.StopTimer()
	b.ReportMetric((redisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
}

// BenchmarkRelay reports what a hold's way from the commit to the stream costs, offered as fast as the queue takes it.
func BenchmarkRelay(b *testing.B) {
	rdb, src := open(b, testenv.RedisServer(b).URL()), newMemory()
	relay, _ := relayWith(b, src, rdb, bus.Keys{}.WithDefaults(), bus.RelayConfig{Sweep: time.Hour, MaxQueue: 1 << 30})
	rows := make([]bus.Pending, b.N)
	for i, pub := range benchGroups(b.N, 3) {
		rows[i] = src.commit(src.reserve(), 3, pub.Group.Account)
	}
	before := redisCPU(b, rdb)
	b.ResetTimer()
	for chunk := range slices.Chunk(rows, 100) {
		relay.Offer(chunk)
	}
	waitFor(b, "an empty outbox", src.empty)
	b.StopTimer()
	b.ReportMetric((redisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
