package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// account is the cached state of an account.
type account struct {
	addedAt time.Time                   // the time at which it was added to the LRU
	floor   atomic.Int64                // the highest seq that Seen reported; older balances are not returned
	newest  atomic.Pointer[bus.Balance] // the newest balance that was read, or nil

	mu   sync.Mutex  // protects read
	read *sharedRead // the running read, or nil
}

// sharedRead is one read of Redis that several callers wait for.
type sharedRead struct {
	done    chan struct{} // closed when the other fields are set
	balance bus.Balance
	ok      bool
	err     error
}

func (a *account) cachedBalance() (bus.Balance, bool) {
	newest := a.newest.Load()
	if newest == nil {
		return bus.Balance{}, false
	}
	return *newest, true
}

// raiseFloor sets the floor to seq unless it is higher.
func (a *account) raiseFloor(seq int64) {
	for {
		floor := a.floor.Load()
		if seq <= floor {
			return
		}
		if a.floor.CompareAndSwap(floor, seq) {
			return
		}
	}
}

// storeNewer stores the balance unless the account has a newer one.
func (a *account) storeNewer(balance *bus.Balance) {
	for {
		newest := a.newest.Load()
		if newest != nil && newest.Seq >= balance.Seq {
			return
		}
		if a.newest.CompareAndSwap(newest, balance) {
			return
		}
	}
}

// loadBalance reads the balance. If another caller is reading it, loadBalance waits for that result.
// The end of ctx does not cancel a read, because other callers may wait for it. A read has its own
// deadline.
func (a *account) loadBalance(
	ctx context.Context, read func(context.Context) (bus.Balance, bool, error),
) (bus.Balance, bool, error) {
	a.mu.Lock()
	running := a.read
	if running != nil {
		a.mu.Unlock()
		select {
		case <-running.done:
			return running.balance, running.ok, running.err
		case <-ctx.Done():
			return bus.Balance{}, false, ctx.Err()
		}
	}
	own := &sharedRead{done: make(chan struct{})}
	a.read = own
	a.mu.Unlock()

	own.balance, own.ok, own.err = read(context.WithoutCancel(ctx))
	if own.ok && own.err == nil {
		a.storeNewer(&own.balance)
	}

	a.mu.Lock()
	a.read = nil
	a.mu.Unlock()
	close(own.done)
	return own.balance, own.ok, own.err
}
