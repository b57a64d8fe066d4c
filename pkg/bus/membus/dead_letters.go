package membus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/dispatch"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// memoryLetters are a memory bus' dead letters.
type memoryLetters struct{ b *Bus }

// DeadLetters implements Bus.
func (b *Bus) DeadLetters() bus.DeadLetters { return memoryLetters{b} }

func (b *Bus) deadLetter(t *dispatch.Task, s *dispatch.Subscriber, attempts int, cause error) {
	b.mu.Lock()
	b.lastID++
	b.letters = append(b.letters, bus.DeadLetter{
		ID: b.cfg.Group + ".0." + strconv.Itoa(b.lastID) + "-0", Group: b.cfg.Group, Subscriber: s.ID,
		Error: dispatch.ErrorText(cause), Attempts: attempts, FailedAt: time.Now().UTC(), Event: t.Event,
		Fields: streamentry.EventFields(&t.Event),
	})
	if len(b.letters) > maxLetters {
		b.letters = b.letters[1:]
	}
	b.mu.Unlock()
	b.d.EndSubscriber(t, s)
}

// List implements DeadLetters.
func (l memoryLetters) List(_ context.Context, after string, limit int) ([]bus.DeadLetter, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	from := 0
	if after != "" {
		from = slices.IndexFunc(l.b.letters, func(d bus.DeadLetter) bool {
			return len(d.ID) > len(after) || (len(d.ID) == len(after) && d.ID > after)
		})
		if from < 0 {
			from = len(l.b.letters)
		}
	}
	rest := l.b.letters[from:]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

// Get implements DeadLetters.
func (l memoryLetters) Get(_ context.Context, id string) (bus.DeadLetter, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if i := l.find(id); i >= 0 {
		return l.b.letters[i], nil
	}
	return bus.DeadLetter{}, fmt.Errorf("get %s: %w", id, bus.ErrNoDeadLetter)
}

// find is the place of a letter, or -1. The bus' mu is held.
func (l memoryLetters) find(id string) int {
	return slices.IndexFunc(l.b.letters, func(d bus.DeadLetter) bool { return d.ID == id })
}

// Replay implements DeadLetters.
func (l memoryLetters) Replay(ctx context.Context, id string) error {
	b := l.b
	if err := b.d.InFlight.Enter(ctx, b.cfg.MaxInFlight); err != nil {
		return fmt.Errorf("replay %s: %w", id, err)
	}
	t, err := l.pull(id)
	if err != nil {
		b.d.InFlight.Add(-1)
		return fmt.Errorf("replay %s: %w", id, err)
	}
	b.start(t)
	return nil
}

// pull takes a letter out whose subscription is there.
func (l memoryLetters) pull(id string) (*dispatch.Task, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	i := l.find(id)
	if i < 0 {
		return nil, bus.ErrNoDeadLetter
	}
	if l.b.closed {
		return nil, bus.ErrClosed
	}
	letter := &l.b.letters[i]
	s := l.b.d.Subscriber(letter.Subscriber)
	if s == nil {
		return nil, fmt.Errorf("there is no subscription %q", letter.Subscriber)
	}
	t := &dispatch.Task{Event: letter.Event, Plan: dispatch.Plan{{s}}}
	l.b.letters = slices.Delete(l.b.letters, i, i+1)
	return t, nil
}

// ReplayAll implements DeadLetters.
func (l memoryLetters) ReplayAll(ctx context.Context) (int, error) {
	letters, err := l.List(ctx, "", maxLetters)
	if err != nil {
		return 0, err
	}
	for i := range letters {
		if err := l.Replay(ctx, letters[i].ID); err != nil {
			return i, err
		}
	}
	return len(letters), nil
}
