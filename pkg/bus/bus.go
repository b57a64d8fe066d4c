package bus

import (
	"context"
	"errors"
)

// A Bus hands events to subscriptions. There are two: package consumer
// reads a consumer group of the streams, for production; package membus is for tests. Their
// methods may be called from several goroutines.
//
// Every subscription whose Types name an event's type gets the event, in ascending
// Priority; equal ones run side by side. Each stands alone: what fails is tried
// again later and then becomes a dead letter, while the others go on. A handler
// may get an event again after a crash, so what it does must bear a repeat, for
// example by a unique key on Event.ID.
type Bus interface {
	// Subscribe adds a subscription. It gets the events that are read from now on, so
	// subscribe before Run. The error is ErrSubscribed when the id is taken, or says
	// what the subscription lacks.
	//
	// unsubscribe takes it out again and waits until ctx ends for the handlers of it
	// that run; called with the context of such a handler it does not wait. Events
	// that wait for the subscription are dropped.
	Subscribe(s Subscription) (unsubscribe func(ctx context.Context) error, err error)

	// Publish adds events and tells for each, in the order given, whether it was
	// Published or a Duplicate of one with the same ID or Key. The ledger's own events
	// come through the relay; this is for other producers.
	//
	// An error that is ErrInvalidEvent means that nothing was published. Any other one
	// means that the events whose Status is Unknown may or may not be published: repeat
	// the call. It waits while the memory bus has Config.MaxInFlight events under way.
	Publish(ctx context.Context, events ...Event) ([]Status, error)

	// DeadLetters are the events that a subscription of this bus failed to handle.
	DeadLetters() DeadLetters

	// Run hands events to subscriptions until ctx ends or Close is called. Then it
	// reads no more, and waits for what is under way for Config.DrainTimeout, or for
	// as long as Close says. It may be called once. The memory bus also works without.
	// The error is ErrLayout when Redis has another number of partitions than
	// Config.Keys: this bus would miss events. While Redis is away it waits.
	Run(ctx context.Context) error

	// Close ends Run and waits for the events under way until ctx ends. Then the
	// contexts of the handlers that still run end too, and the error is ctx's. With
	// Redis, events that were not handled to the end are handled later, by whoever
	// reads the group then.
	Close(ctx context.Context) error
}

// An Event is what happened: what producers publish and handlers get.
type Event struct {
	// ID names the event: 1 to 255 visible ASCII characters. Publish gives an event
	// without one a UUID. Two with the same ID are one event.
	ID string
	// Type is such as "wallet.escrow_held": 1 to 128 of a-z A-Z 0-9 . _ -.
	Type string
	// Account is whose event it is, such as "user:u1": at most 255 visible ASCII
	// characters. Events of one account are handled in order. An event may have none.
	Account string
	// Seq numbers the ledger's events of one account: 1, 2, 3 … without a hole. It is
	// 0 in events of other producers, who must leave it so.
	Seq int64
	// Key is an idempotency key: two events with the same Key are one, whatever their
	// IDs. At most 255 visible ASCII characters; empty: none. The ledger's events have
	// one that a transaction's events for one account share.
	Key string
	// Amount is in whole points; 0 when the event has none.
	Amount  int64
	Reason  string // reason code; empty when the event has none
	Feature string // featureType; empty when the event has none
	// TraceParent is the W3C trace context of the request that caused the event, at
	// most 255 visible ASCII characters; empty: none.
	TraceParent string
	// Data is the event's JSON, all of it, at most 1 MiB. Handlers share it and must
	// not change it.
	Data []byte
}

// A Subscription asks for events.
type Subscription struct {
	// ID names the subscription within its bus: 1 to 64 of A-Z a-z 0-9 . _ -. Metrics,
	// dead letters and done markers know it by this name, so keep it over restarts.
	ID string
	// Types are the event types wanted. Defaults to those that the Handler tells of
	// (see Typed); a Handler that tells of none gets all.
	Types []string
	// Priority orders the subscriptions that want an event: lower ones run first, and
	// the next when their first attempts have ended. Defaults to 100; for something
	// before 1 use -1.
	Priority int
	// Handler handles the events.
	Handler Handler
}

// A Handler handles events. It is called from several goroutines: one event of an
// account after the other (see the package's documentation for what retries do to
// that), events of several accounts at the same time. Its context ends after
// Config.HandlerTimeout. An error, or a panic, has it called again with the same
// event later, unless the error is Permanent.
type Handler interface {
	Handle(ctx context.Context, e *Event) error
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, e *Event) error

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, e *Event) error { return f(ctx, e) }

// What the bus answers.
var (
	// ErrSubscribed means that a subscription with this id exists.
	ErrSubscribed = errors.New("the subscription's id is taken")
	// ErrClosed means that the bus was closed.
	ErrClosed = errors.New("the bus is closed")
	// ErrInvalidEvent means that an event cannot be published as it is.
	ErrInvalidEvent = errors.New("invalid event")
	// ErrNoDeadLetter means that there is no dead letter with this id.
	ErrNoDeadLetter = errors.New("no such dead letter")
	// ErrLayout means that Redis holds data of the same namespace with another number of partitions.
	ErrLayout = errors.New("another partition count is in use")
)

// Permanent marks an error that no retry mends: the event becomes a dead letter at
// once. Permanent(nil) is nil.
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
