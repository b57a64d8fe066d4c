package streamtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

// Follower runs a tail and keeps its deliveries.
type Follower struct {
	*tail.Tail
	Stop context.CancelFunc

	Mu      sync.Mutex // protects the fields below
	History []bus.Delivery
	Live    []bus.Delivery
}

// Follow runs a tail until the test ends.
func Follow(t testing.TB, rdb redis.UniversalClient, cfg tail.Config) *Follower {
	t.Helper()

	if cfg.Block == 0 {
		cfg.Block = 20 * time.Millisecond
	}

	if cfg.Logger == nil {
		cfg.Logger = DiscardLogger()
	}

	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{Tail: tail.New(rdb, cfg)}
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, f.keepBatch) }()
	f.Stop = sync.OnceFunc(func() {
		cancel()
		err := <-ended
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	})

	t.Cleanup(f.Stop)
	return f
}

func (f *Follower) keepBatch(b tail.Batch) {
	f.Mu.Lock()
	defer f.Mu.Unlock()

	if b.Refill {
		f.History = append(f.History, b.Deliveries...)
	} else {
		f.Live = append(f.Live, b.Deliveries...)
	}
}

// Seqs lists an account's seqs of the refill and of the live reads, in order and without repeats.
func (f *Follower) Seqs(account string) (history, live []int64) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return listNewSeqs(f.History, account), listNewSeqs(f.Live, account)
}

// listNewSeqs lists the account's seqs that are above all seqs before them.
func listNewSeqs(deliveries []bus.Delivery, account string) []int64 {
	var seqs []int64
	last := int64(0)
	for _, d := range deliveries {
		if d.Account == account && d.Seq > last {
			last = d.Seq
			seqs = append(seqs, d.Seq)
		}
	}

	return seqs
}

// AllSeqs lists an account's seqs in the order in which they arrived, with repeats.
func (f *Follower) AllSeqs(account string) []int64 {
	f.Mu.Lock()
	defer f.Mu.Unlock()

	var seqs []int64
	for _, d := range slices.Concat(f.History, f.Live) {
		if d.Account == account {
			seqs = append(seqs, d.Seq)
		}
	}

	return seqs
}

// WaitCaughtUp waits until the tail has read all entries that its streams had at the start.
func (f *Follower) WaitCaughtUp(t testing.TB) {
	t.Helper()

	select {
	case <-f.CaughtUp():
	case <-time.After(waitLimit):
		t.Fatalf("the tail did not catch up within %s", waitLimit)
	}
}

// WaitLive waits until the live reads have the account's seqs from first to last.
func (f *Follower) WaitLive(t testing.TB, account string, first, last int64) {
	t.Helper()
	WaitFor(t, fmt.Sprintf("live seqs %d to %d of %s", first, last, account), func() bool {
		_, live := f.Seqs(account)
		return slices.Equal(live, SeqRange(first, last))
	})
}
