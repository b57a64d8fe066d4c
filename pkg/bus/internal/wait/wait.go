// Package wait counts work in flight and waits for it.
package wait

import (
	"context"
	"sync"
	"time"
)

// Tally counts what is under way, and lets others wait for it to fall.
type Tally struct {
	mu   sync.Mutex // protects the rest
	n    int
	fell chan struct{} // closed when n falls; nil: nobody waits
}

// Add adds n, which may be negative, and wakes who waits for the count to fall.
func (t *Tally) Add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += n
	if n < 0 && t.fell != nil {
		close(t.fell)
		t.fell = nil
	}
}

// Count returns the count.
func (t *Tally) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// Enter waits until fewer than limit are under way and counts one more. The error is
// ctx's.
func (t *Tally) Enter(ctx context.Context, limit int) error {
	for {
		t.mu.Lock()
		if t.n < limit {
			t.n++
			t.mu.Unlock()
			return nil
		}
		fell := t.watch()
		t.mu.Unlock()
		select {
		case <-fell:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Room waits until fewer than limit are under way and returns how many fewer. The
// error is ctx's.
func (t *Tally) Room(ctx context.Context, limit int) (int, error) {
	for {
		t.mu.Lock()
		if n := limit - t.n; n > 0 {
			t.mu.Unlock()
			return n, nil
		}
		fell := t.watch()
		t.mu.Unlock()
		select {
		case <-fell:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// WaitZero waits until nothing is under way. The error is ctx's.
func (t *Tally) WaitZero(ctx context.Context) error {
	_, err := t.Room(ctx, 1)
	return err
}

// watch returns what is closed when n falls. t.mu is held.
func (t *Tally) watch() <-chan struct{} {
	if t.fell == nil {
		t.fell = make(chan struct{})
	}
	return t.fell
}

// Sleep waits for d or for ctx's end.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
