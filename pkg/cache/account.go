package cache

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// account is the cached state of an account.
type account struct {
	addedAt atomic.Int64                // when it was added to the LRU or expired, in ns since the cache's start
	floor   atomic.Int64                // the highest seq that Seen reported; older balances are not returned
	newest  atomic.Pointer[bus.Balance] // the newest balance that was read, or nil; changed while mu is held

	mu   sync.Mutex  // protects read
	read *sharedRead // the running read that callers may wait for, or nil
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

// lowerFloor sets the floor to seq unless it is lower.
func (a *account) lowerFloor(seq int64) {
	for {
		floor := a.floor.Load()
		if seq >= floor {
			return
		}
		if a.floor.CompareAndSwap(floor, seq) {
			return
		}
	}
}

// forgetBalance drops the balance, and that of the running read. Later callers do not wait for that
// read.
func (a *account) forgetBalance() {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.read = nil
	a.newest.Store(nil)
}

// endRead ends a read. It stores the balance, unless the account has a newer one or forgetBalance was
// called during the read.
func (a *account) endRead(read *sharedRead) {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.read != read {
		return
	}
	a.read = nil
	newest := a.newest.Load()
	isNewer := newest == nil || newest.Seq < read.balance.Seq
	if read.ok && read.err == nil && isNewer {
		a.newest.Store(&read.balance)
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
	a.endRead(own)
	close(own.done)
	return own.balance, own.ok, own.err
}
