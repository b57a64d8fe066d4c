package bus

import (
	"context"
	"time"
)

// DeadLetters are the events that a subscription of one group failed to handle. Each
// letter is one event and one subscription.
type DeadLetters interface {
	// List returns letters, the oldest of each partition first: those after the one
	// with the given id ("": from the start), at most limit.
	List(ctx context.Context, after string, limit int) ([]DeadLetter, error)
	// Get returns one; the error is ErrNoDeadLetter when there is none.
	Get(ctx context.Context, id string) (DeadLetter, error)
	// Replay takes a letter out and has its event handled again, by the subscription
	// that failed and by no other, with the event's own ID. When it fails again
	// there is a new letter. The error is ErrNoDeadLetter when there is none.
	Replay(ctx context.Context, id string) error
	// ReplayAll replays all letters that there are now and tells how many.
	ReplayAll(ctx context.Context) (int, error)
}

// DeadLetter is an event that a subscription failed to handle.
type DeadLetter struct {
	ID         string    // of the letter: group, partition and entry, joined by dots
	Group      string    // consumer group
	Subscriber string    // subscription; empty: the entry itself was no event, for any of them
	Error      string    // of the last attempt; a panic's has the stack
	Attempts   int       // calls of the handler
	FailedAt   time.Time // of the last attempt
	Event      Event     // what the entry says, as far as it can be read
	// Fields are the stream entry as it was.
	Fields map[string]string
}
