package bus

import (
	"context"
	"sync"
)

// tally counts what is under way, and lets others wait for it to fall.
type tally struct {
	mu   sync.Mutex // protects the rest
	n    int
	fell chan struct{} // closed when n falls; nil: nobody waits
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += n
	if n < 0 && t.fell != nil {
		close(t.fell)
		t.fell = nil
	}
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// enter waits until fewer than limit are under way and counts one more. The error is
// ctx's.
func (t *tally) enter(ctx context.Context, limit int) error {
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

// room waits until fewer than limit are under way and returns how many fewer. The
// error is ctx's.
func (t *tally) room(ctx context.Context, limit int) (int, error) {
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

// zero waits until nothing is under way. The error is ctx's.
func (t *tally) zero(ctx context.Context) error {
	_, err := t.room(ctx, 1)
	return err
}

// watch returns what is closed when n falls. t.mu is held.
func (t *tally) watch() <-chan struct{} {
	if t.fell == nil {
		t.fell = make(chan struct{})
	}
	return t.fell
}
