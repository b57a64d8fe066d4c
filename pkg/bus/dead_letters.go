package bus

import (
	"context"
	"time"
)

// DeadLetters gives access to the dead letters of one group. Each letter is about one event and one
// subscription.
type DeadLetters interface {
	// List returns at most limit letters, the oldest of each partition first. It starts after the
	// letter with the given id, or at the beginning if after is empty.
	List(ctx context.Context, after string, limit int) ([]DeadLetter, error)
	// Get returns a letter. The error is ErrNoDeadLetter if it does not exist.
	Get(ctx context.Context, id string) (DeadLetter, error)
	// Replay removes a letter and has its event handled again, with the event's own ID, by the
	// subscription that failed and by no other one. If it fails again, there is a new letter. The
	// error is ErrNoDeadLetter if the letter does not exist.
	Replay(ctx context.Context, id string) error
	// ReplayAll replays all letters that exist now and returns how many there were.
	ReplayAll(ctx context.Context) (int, error)
}

// DeadLetter is an event that a subscription failed to handle.
type DeadLetter struct {
	ID         string    // id of the letter: group, partition and entry, joined by dots
	Group      string    // consumer group
	Subscriber string    // subscription; empty: the entry is not an event, so it has no subscription
	Error      string    // error of the last attempt; a panic's includes the stack
	Attempts   int       // handler calls
	FailedAt   time.Time // time of the last attempt
	Event      Event     // the entry's valid fields
	// Fields are all fields of the stream entry.
	Fields map[string]string
}
