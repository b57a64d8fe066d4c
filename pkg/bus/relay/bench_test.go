package relay_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// BenchmarkRelay measures the cost of publishing a hold, from its offer until it leaves the outbox.
func BenchmarkRelay(b *testing.B) {
	rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
	src := newMemorySource()
	r, _ := startRelay(b, src, rdb, bus.Keys{}.WithDefaults(), relay.Config{Sweep: time.Hour, MaxQueue: 1 << 30})
	rows := make([]bus.OutboxRow, b.N)
	for i, pub := range streamtest.NewBenchPublications(b.N, 3) {
		rows[i] = src.commit(src.reserveID(), 3, pub.Update.Account)
	}
	before := streamtest.ReadRedisCPU(b, rdb)
	b.ResetTimer()
	for chunk := range slices.Chunk(rows, 100) {
		r.Offer(chunk)
	}
	streamtest.WaitFor(b, "an empty outbox", src.isEmpty)
	b.StopTimer()
	b.ReportMetric((streamtest.ReadRedisCPU(b, rdb)-before)/float64(b.N), "redis-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
