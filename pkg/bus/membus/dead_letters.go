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

// deadLetters gives access to the dead letters of a memory bus.
type deadLetters struct{ b *Bus }

// DeadLetters implements Bus.
func (b *Bus) DeadLetters() bus.DeadLetters { return deadLetters{b} }

func (b *Bus) addDeadLetter(t *dispatch.Task, s *dispatch.Subscriber, attempts int, cause error) {
	b.mu.Lock()
	b.lastLetterID++
	b.letters = append(b.letters, bus.DeadLetter{
		ID:         b.cfg.Group + ".0." + strconv.Itoa(b.lastLetterID) + "-0",
		Group:      b.cfg.Group,
		Subscriber: s.ID,
		Error:      dispatch.ErrorText(cause),
		Attempts:   attempts,
		FailedAt:   time.Now().UTC(),
		Event:      t.Event,
		Fields:     streamentry.EventFields(&t.Event),
	})

	if len(b.letters) > maxLetters {
		b.letters = b.letters[1:]
	}

	b.mu.Unlock()
	b.d.EndSubscriber(t, s)
}

// List implements DeadLetters.
func (l deadLetters) List(_ context.Context, after string, limit int) ([]bus.DeadLetter, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()

	first := 0
	if after != "" {
		first = slices.IndexFunc(l.b.letters, func(d bus.DeadLetter) bool {
			return len(d.ID) > len(after) || (len(d.ID) == len(after) && d.ID > after)
		})

		if first < 0 {
			first = len(l.b.letters)
		}
	}

	letters := l.b.letters[first:]
	return slices.Clone(letters[:min(limit, len(letters))]), nil
}

// Get implements DeadLetters.
func (l deadLetters) Get(_ context.Context, id string) (bus.DeadLetter, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()

	i := l.indexOf(id)
	if i < 0 {
		return bus.DeadLetter{}, fmt.Errorf("get %s: %w", id, bus.ErrNoDeadLetter)
	}

	return l.b.letters[i], nil
}

// indexOf returns the index of a letter, or -1. The bus' mu is held.
func (l deadLetters) indexOf(id string) int {
	return slices.IndexFunc(l.b.letters, func(d bus.DeadLetter) bool { return d.ID == id })
}

// Replay implements DeadLetters.
func (l deadLetters) Replay(ctx context.Context, id string) error {
	b := l.b
	err := b.d.InFlight.Enter(ctx, b.cfg.MaxInFlight)
	if err != nil {
		return fmt.Errorf("replay %s: %w", id, err)
	}

	t, err := l.removeLetter(id)
	if err != nil {
		b.d.InFlight.Add(-1)
		return fmt.Errorf("replay %s: %w", id, err)
	}

	b.startTask(t)
	return nil
}

// removeLetter removes a letter and returns the task of its replay. The letter stays if its
// subscription does not exist.
func (l deadLetters) removeLetter(id string) (*dispatch.Task, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()

	i := l.indexOf(id)
	if i < 0 {
		return nil, bus.ErrNoDeadLetter
	}

	if l.b.closed {
		return nil, bus.ErrClosed
	}

	letter := &l.b.letters[i]
	s := l.b.d.Subscriber(letter.Subscriber)
	if s == nil {
		return nil, fmt.Errorf("subscription %q does not exist", letter.Subscriber)
	}

	t := &dispatch.Task{Event: letter.Event, Plan: dispatch.Plan{{s}}}
	l.b.letters = slices.Delete(l.b.letters, i, i+1)
	return t, nil
}

// ReplayAll implements DeadLetters.
func (l deadLetters) ReplayAll(ctx context.Context) (int, error) {
	letters, err := l.List(ctx, "", maxLetters)
	if err != nil {
		return 0, err
	}

	for i := range letters {
		err := l.Replay(ctx, letters[i].ID)
		if err != nil {
			return i, err
		}
	}

	return len(letters), nil
}
