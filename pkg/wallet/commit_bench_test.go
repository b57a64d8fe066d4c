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

// BenchmarkHold holds points from 64 goroutines, on 10,000 accounts and on a single account. It
// runs in one process, without the relay.
func BenchmarkHold(b *testing.B) {
	for name, open := range map[string]func(testing.TB) string{
		"postgres": ledgerdb.Postgres,
		"sqlite":   wallettest.SQLite,
	} {
		for _, accounts := range []int{10000, 1} {
			b.Run(fmt.Sprintf("%s/accounts=%d", name, accounts), func(b *testing.B) {
				benchmarkHold(b, open(b), accounts)
			})
		}
	}
}

func benchmarkHold(b *testing.B, url string, accounts int) {
	l := wallettest.Open(b, url, wallet.Config{Committed: func([]bus.OutboxRow) {}})
	runConcurrently(b, 64, accounts, func(ctx context.Context, i int) error {
		account := wallet.Account(fmt.Sprint("user:", i%accounts))
		_, err := l.Do(ctx, newCredit(account, 1<<40, fmt.Sprint(i)))
		return err
	})
	b.ReportAllocs()
	b.ResetTimer()
	runConcurrently(b, 64, b.N, func(ctx context.Context, i int) error {
		account := wallet.Account(fmt.Sprint("user:", i*7919%accounts))
		_, err := l.Do(ctx, newHold(account, 1, fmt.Sprint(i)))
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// runConcurrently calls f n times, with the numbers from 1 to n, from a number of goroutines.
func runConcurrently(b *testing.B, goroutines, n int, f func(ctx context.Context, i int) error) {
	b.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				err := f(b.Context(), i)
				if err != nil {
					b.Errorf("call %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
