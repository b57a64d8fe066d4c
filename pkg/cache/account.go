package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// account is what is known of one account.
type account struct {
	since time.Time                   // when it came into the LRU
	floor atomic.Int64                // highest seq that Seen told; nothing older is returned
	value atomic.Pointer[bus.Balance] // the newest balance that was read; nil: none

	mu     sync.Mutex // protects flight
	flight *flight    // the read that is under way; nil: none
}

// flight is one read of Redis that several callers wait for.
type flight struct {
	done    chan struct{} // closed when the rest is set
	balance bus.Balance
	ok      bool
	err     error
}

func (a *account) cachedBalance() (bus.Balance, bool) {
	if v := a.value.Load(); v != nil {
		return *v, true
	}
	return bus.Balance{}, false
}

func (a *account) raiseFloor(seq int64) {
	for {
		floor := a.floor.Load()
		if seq <= floor || a.floor.CompareAndSwap(floor, seq) {
			return
		}
	}
}

// storeNewer keeps the balance unless a newer one is known.
func (a *account) storeNewer(balance *bus.Balance) {
	for {
		old := a.value.Load()
		if (old != nil && old.Seq >= balance.Seq) || a.value.CompareAndSwap(old, balance) {
			return
		}
	}
}

// loadBalance reads the balance, or waits for who is reading it. A read does not end with
// the ctx of the caller that happens to make it, since others wait for it too; it
// has a deadline of its own.
func (a *account) loadBalance(
	ctx context.Context, read func(context.Context) (bus.Balance, bool, error),
) (bus.Balance, bool, error) {
	a.mu.Lock()
	f := a.flight
	if f != nil {
		a.mu.Unlock()
		select {
		case <-f.done:
			return f.balance, f.ok, f.err
		case <-ctx.Done():
			return bus.Balance{}, false, ctx.Err()
		}
	}
	f = &flight{done: make(chan struct{})}
	a.flight = f
	a.mu.Unlock()

	f.balance, f.ok, f.err = read(context.WithoutCancel(ctx))
	if f.ok && f.err == nil {
		a.storeNewer(&f.balance)
	}
	a.mu.Lock()
	a.flight = nil
	a.mu.Unlock()
	close(f.done)
	return f.balance, f.ok, f.err
}
