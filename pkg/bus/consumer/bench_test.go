package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
)

// processCPU returns the processor time that this process has used.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measurePerEvent measures the processor time of f for each of b.N events, in this process and in
// Redis.
func measurePerEvent(b *testing.B, rdb redis.UniversalClient, f func()) {
	b.Helper()
	ownBefore := processCPU(b)
	redisBefore := streamtest.ReadRedisCPU(b, rdb)
	b.ResetTimer()
	f()
	b.StopTimer()
	b.ReportMetric(float64((processCPU(b)-ownBefore).Nanoseconds())/float64(b.N), "cpu-ns/event")
	b.ReportMetric(1000*(streamtest.ReadRedisCPU(b, rdb)-redisBefore)/float64(b.N), "redis-cpu-ns/event")
}

const benchBatch = 500

func makeEvents(n int, keyed bool) []bus.Event {
	data := []byte(`{"version":"1.0","pad":"` + strings.Repeat("x", 270) + `"}`)
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = bus.Event{
			ID:      fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i),
			Type:    "wallet.escrow_held",
			Account: fmt.Sprintf("user:%06d", i%1000),
			Amount:  5,
			Reason:  "chip_menu_purchase",
			Feature: "chip_menu",
			Data:    data,
		}
		if keyed {
			events[i].Key = events[i].ID + ":user"
		}
	}
	return events
}

func publishInBatches(b *testing.B, p bus.Bus, events []bus.Event) {
	b.Helper()
	for i := 0; i < len(events); i += benchBatch {
		if _, err := p.Publish(b.Context(), events[i:min(i+benchBatch, len(events))]...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBusPublish compares publishing with pipelined XADDs of the same fields.
func BenchmarkBusPublish(b *testing.B) {
	keys := bus.Keys{}.WithDefaults()
	b.Run("xadd", func(b *testing.B) {
		rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
		events := makeEvents(b.N, false)
		measurePerEvent(b, rdb, func() {
			for i := 0; i < len(events); i += benchBatch {
				pipe := rdb.Pipeline()
				for _, e := range events[i:min(i+benchBatch, len(events))] {
					pipe.XAdd(b.Context(), &redis.XAddArgs{
						Stream: keys.Stream(keys.Partition(e.Account)),
						MaxLen: 1_000_000,
						Approx: true,
						Values: []any{
							"id", e.ID, "type", e.Type, "account", e.Account, "amount", e.Amount,
							"reason", e.Reason, "feature", e.Feature, "data", e.Data,
						},
					})
				}
				if _, err := pipe.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	for name, cfg := range map[string]bus.Config{"bus": {}, "bus-without-dedup": {AllowDuplicates: true}} {
		b.Run(name, func(b *testing.B) {
			rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
			events := makeEvents(b.N, false)
			p, err := consumer.New(rdb, cfg)
			if err != nil {
				b.Fatal(err)
			}
			measurePerEvent(b, rdb, func() { publishInBatches(b, p, events) })
		})
	}
}

// BenchmarkBusConsume compares subscriptions with an empty handler with plain XREADGROUP and XACK.
func BenchmarkBusConsume(b *testing.B) {
	keys := bus.Keys{}.WithDefaults()
	fill := func(b *testing.B) redis.UniversalClient {
		rdb := streamtest.Open(b, testenv.RedisServer(b).URL())
		p, err := consumer.New(rdb, bus.Config{AllowDuplicates: true})
		if err != nil {
			b.Fatal(err)
		}
		publishInBatches(b, p, makeEvents(b.N, true))
		return rdb
	}
	b.Run("xreadgroup", func(b *testing.B) {
		rdb := fill(b)
		ctx := b.Context()
		args := redis.XReadGroupArgs{Group: "g", Consumer: "c", Count: 1000, Block: time.Second}
		for p := range keys.Partitions {
			if err := rdb.XGroupCreateMkStream(ctx, keys.Stream(p), "g", "0").Err(); err != nil {
				b.Fatal(err)
			}
			args.Streams = append(args.Streams, keys.Stream(p))
		}
		for range keys.Partitions {
			args.Streams = append(args.Streams, ">")
		}
		measurePerEvent(b, rdb, func() {
			for n := 0; n < b.N; {
				streams, err := rdb.XReadGroup(ctx, &args).Result()
				if err != nil {
					b.Fatal(err)
				}
				pipe := rdb.Pipeline()
				for _, s := range streams {
					ids := make([]string, len(s.Messages))
					for i, m := range s.Messages {
						ids[i] = m.ID
					}
					n += len(ids)
					pipe.XAck(ctx, s.Stream, "g", ids...)
				}
				if _, err := pipe.Exec(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	for _, subscriptions := range []int{1, 4} {
		b.Run(fmt.Sprint("bus-", subscriptions), func(b *testing.B) {
			rdb := fill(b)
			p, err := consumer.New(rdb, bus.Config{Group: "g"})
			if err != nil {
				b.Fatal(err)
			}
			var remaining atomic.Int64
			remaining.Store(int64(b.N * subscriptions))
			done := make(chan struct{})
			for i := range subscriptions {
				countDown := func(context.Context, *bus.Event) error {
					if remaining.Add(-1) == 0 {
						close(done)
					}
					return nil
				}
				_, err := p.Subscribe(bus.Subscription{ID: fmt.Sprint("s", i), Handler: bus.HandlerFunc(countDown)})
				if err != nil {
					b.Fatal(err)
				}
			}
			measurePerEvent(b, rdb, func() {
				ran := make(chan error, 1)
				go func() { ran <- p.Run(context.Background()) }()
				<-done
				if err := errors.Join(p.Close(context.Background()), <-ran); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}
