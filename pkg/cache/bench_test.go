package cache_test

import (
	"fmt"
	"testing"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/cache"
)

// newFilledCache returns a cache, and a function that publishes an account and reads it.
func newFilledCache(b *testing.B) (c *cache.Balances, fill func(account string)) {
	b.Helper()
	url, namespace := testenv.Redis(b)
	rdb := streamtest.Open(b, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 4}
	p := publish.New(rdb, publish.Config{Keys: keys})
	c = cache.New(rdb, cache.Config{Keys: keys, Current: isCurrent})
	return c, func(account string) {
		publishState(b, p, account, 1)
		mustGet(b, c, account)
	}
}

func BenchmarkSeen(b *testing.B) {
	const accounts = 4096
	c, fill := newFilledCache(b)
	for i := range accounts {
		fill(fmt.Sprintf("user:cached-%d", i))
	}
	for _, kind := range []string{"cached", "absent"} {
		names := make([]string, accounts)
		for i := range names {
			names[i] = fmt.Sprintf("user:%s-%d", kind, i)
		}
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Seen(names[i%len(names)], int64(i))
			}
		})
	}
}

func BenchmarkGetHit(b *testing.B) {
	c, fill := newFilledCache(b)
	fill("user:a")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = c.Get(b.Context(), "user:a")
	}
}
