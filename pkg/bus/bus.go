package bus

import (
	"context"
	"errors"
	"time"
)

// A Bus hands events to subscriptions. There are two implementations: package consumer reads a
// consumer group of the streams, and package membus is for tests. Methods may be called from
// several goroutines.
//
// An event goes to every subscription whose Types include its type, in ascending Priority.
// Subscriptions of equal Priority run in parallel. A failure of one subscription does not affect
// the others: the event is retried for that subscription and then becomes a dead letter. After a
// crash a handler may get an event again, so a repeat must be harmless, for example because of a
// unique key on Event.ID.
type Bus interface {
	// Subscribe adds a subscription. It gets the events that are read from now on, so subscribe
	// before Run. The error is ErrSubscribed if a subscription with this ID exists.
	//
	// unsubscribe removes the subscription, drops the events that wait for it, and waits for its
	// running handlers until ctx ends. If ctx is the context of one of these handlers, it does not
	// wait.
	Subscribe(s Subscription) (unsubscribe func(ctx context.Context) error, err error)

	// Publish adds events. It returns a status for each event in the order given: Published, or
	// Duplicate if an event with the same ID or Key exists. It is for producers other than the
	// ledger, whose events the relay publishes.
	//
	// If the error is ErrInvalidEvent, no event was published. After any other error, the events
	// whose status is Unknown may be published or not: repeat the call. The memory bus waits while
	// Config.MaxInFlight events are in flight.
	Publish(ctx context.Context, events ...Event) ([]Status, error)

	// DeadLetters returns the events that a subscription of this bus failed to handle.
	DeadLetters() DeadLetters

	// Run hands events to subscriptions until ctx ends or Close is called. Then it stops reading
	// and waits for the events in flight, for Config.DrainTimeout or as long as Close waits. It may
	// be called once. The memory bus also works without it.
	//
	// The error is ErrLayout if Redis has other partitions than Config.Keys, since this bus would
	// miss events. If Redis is unavailable, Run waits for it.
	Run(ctx context.Context) error

	// Close ends Run and waits for the events in flight until ctx ends. Then it cancels the
	// contexts of the running handlers and returns ctx's error. With Redis, the group handles the
	// unfinished events later.
	Close(ctx context.Context) error
}

// An Event is published by a producer and handled by subscriptions.
type Event struct {
	// ID identifies the event. It is 1 to 255 visible ASCII characters. If it is empty, Publish
	// sets a UUID. Two events with the same ID are the same event.
	ID string
	// Type is the event type, such as "wallet.escrow_held". It is 1 to 128 of a-z A-Z 0-9 . _ -.
	Type string
	// Account is the account of the event, such as "user:u1". It is at most 255 visible ASCII
	// characters; empty: the event has none. Events of one account are handled in order.
	Account string
	// Seq numbers the ledger's events of one account: 1, 2, 3 … without a hole. In events of other
	// producers it must be 0.
	Seq int64
	// Chain identifies the account's history up to this event. It is 0 in events of other producers.
	Chain Chain
	// Key is an idempotency key: two events with the same Key are the same event, even if their IDs
	// differ. It is at most 255 visible ASCII characters; empty: the event has none. The ledger's
	// events of one transaction and account share a Key.
	Key string
	// Amount is in whole points; 0: the event has none.
	Amount  int64
	Reason  string // reason code; empty: the event has none
	Feature string // featureType; empty: the event has none
	// TraceParent is the W3C trace context of the request that caused the event. It is at most 255
	// visible ASCII characters; empty: the event has none.
	TraceParent string
	// Data is the complete event as JSON on one line, at most 1 MiB. Handlers share it and must not
	// change it.
	Data []byte
}

// A Subscription requests events.
type Subscription struct {
	// ID identifies the subscription within its bus. It is 1 to 64 of A-Z a-z 0-9 . _ -. Metrics,
	// dead letters and done markers contain it, so keep it over restarts.
	ID string
	// Types are the event types of the subscription. Defaults to the types of a Handler that Typed
	// or Route made, and to all types for any other Handler.
	Types []string
	// Priority orders the subscriptions of an event: lower ones run first, and the next ones when
	// the first attempts of those have ended. Defaults to 100. Use -1 for a priority before 1,
	// since 0 means the default.
	Priority int
	// Since selects the ledger's events from this time on, also those that the streams do not have
	// any more: the subscription gets the history first and then the live events, in the order of
	// each account. It begins up to a minute earlier, since the clocks of cores differ.
	// FromFirstEvent selects all events. It needs Config.History and a bus on Redis.
	//
	// The history is read once for the group and the ID. A restart continues where it was. If the
	// group is away for so long that the streams were trimmed, it reads the history of that time.
	// Then it gets events of about a minute again. While the history is read, the other
	// subscriptions of the group wait for live events. Defaults to none: only live events.
	Since time.Time
	// Handler handles the events.
	Handler Handler
}

// A Handler handles events. It is called from several goroutines: for one event of an account after
// the other, and for events of different accounts in parallel. The package documentation says how
// retries change the order. Its context ends after Config.HandlerTimeout. If it returns an error or
// panics, it is called again with the same event later, unless the error is Permanent.
type Handler interface {
	Handle(ctx context.Context, e *Event) error
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, e *Event) error

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, e *Event) error { return f(ctx, e) }

// Errors of a bus.
var (
	// ErrSubscribed means that a subscription with this ID exists.
	ErrSubscribed = errors.New("a subscription with this id exists")
	// ErrClosed means that the bus was closed.
	ErrClosed = errors.New("the bus is closed")
	// ErrInvalidEvent means that an event is not valid and cannot be published.
	ErrInvalidEvent = errors.New("invalid event")
	// ErrNoDeadLetter means that no dead letter with this id exists.
	ErrNoDeadLetter = errors.New("no such dead letter")
	// ErrLayout means that Redis has data of the same namespace with another number of partitions,
	// or from another version of this program.
	ErrLayout = errors.New("another layout of the partitions is in use")
)

// Permanent marks an error that a retry cannot fix: the event becomes a dead letter at once.
// Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// IsPermanent reports whether an error was marked by Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}
