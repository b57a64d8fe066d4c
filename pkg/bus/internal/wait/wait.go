// Package wait counts work in progress and waits for it to end.
package wait

import (
	"context"
	"sync"
	"time"
)

// A Tally counts work in progress. Goroutines can wait until the count is low enough.
type Tally struct {
	mu        sync.Mutex // protects the rest
	n         int
	decreased chan struct{} // closed when n decreases; nil: nobody waits
}

// Add adds n, which may be negative, and wakes the waiting goroutines after a decrease.
func (t *Tally) Add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.n += n
	if n < 0 && t.decreased != nil {
		close(t.decreased)
		t.decreased = nil
	}
}

// Count returns the count.
func (t *Tally) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// Enter waits until the count is less than limit and adds one. The error is ctx's.
func (t *Tally) Enter(ctx context.Context, limit int) error {
	for {
		t.mu.Lock()
		if t.n < limit {
			t.n++
			t.mu.Unlock()
			return nil
		}

		decreased := t.decreaseSignal()
		t.mu.Unlock()

		select {
		case <-decreased:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitForRoom waits until the count is less than limit and returns the difference. The error is
// ctx's.
func (t *Tally) WaitForRoom(ctx context.Context, limit int) (int, error) {
	for {
		t.mu.Lock()
		room := limit - t.n
		if room > 0 {
			t.mu.Unlock()
			return room, nil
		}

		decreased := t.decreaseSignal()
		t.mu.Unlock()

		select {
		case <-decreased:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// WaitZero waits until the count is zero. The error is ctx's.
func (t *Tally) WaitZero(ctx context.Context) error {
	_, err := t.WaitForRoom(ctx, 1)
	return err
}

// decreaseSignal returns a channel that is closed when the count decreases. t.mu is held.
func (t *Tally) decreaseSignal() <-chan struct{} {
	if t.decreased == nil {
		t.decreased = make(chan struct{})
	}
	return t.decreased
}

// Sleep waits for d or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
