package wallet_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// BenchmarkHold holds points from 64 goroutines, in process and without the
// relay: on 10,000 accounts, and on a single one.
func BenchmarkHold(b *testing.B) {
	for name, open := range map[string]func(testing.TB) string{"postgres": ledgerdb.Postgres, "sqlite": wallettest.SQLite} {
		for _, accounts := range []int{10000, 1} {
			b.Run(fmt.Sprintf("%s/accounts=%d", name, accounts), func(b *testing.B) {
				l := wallettest.Open(b, open(b), wallet.Config{Committed: func([]bus.OutboxRow) {}})
				each(b, 64, accounts, func(ctx context.Context, i int) error {
					_, err := l.Do(ctx, credit(wallet.Account(fmt.Sprint("user:", i%accounts)), 1<<40, fmt.Sprint(i)))
					return err
				})
				b.ReportAllocs()
				b.ResetTimer()
				each(b, 64, b.N, func(ctx context.Context, i int) error {
					_, err := l.Do(ctx, hold(wallet.Account(fmt.Sprint("user:", i*7919%accounts)), 1, fmt.Sprint(i)))
					return err
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
			})
		}
	}
}

// each calls f n times from a number of goroutines.
func each(b *testing.B, goroutines, n int, f func(ctx context.Context, i int) error) {
	b.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range goroutines {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := f(b.Context(), i); err != nil {
					b.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
