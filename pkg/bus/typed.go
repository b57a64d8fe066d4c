package bus

import (
	"context"
	"encoding/json"
	"fmt"
)

// checker is a payload that validates itself, for example its version.
type checker interface{ Check() error }

// Typed returns a Handler of one event type from a function that takes the decoded payload. The
// payload is the event's JSON decoded into a T. Unknown fields are ignored. If the JSON does not
// decode into a T, the error is Permanent. If T or *T has a method Check() error, it is called
// first, and its error is Permanent too. Check is the place to refuse versions that the program
// does not support.
func Typed[T any](eventType string, handle func(ctx context.Context, payload T) error) Handler {
	return &typedHandler{
		types: []string{eventType},
		handle: func(ctx context.Context, e *Event) error {
			var payload T
			err := json.Unmarshal(e.Data, &payload)
			if err != nil {
				return Permanent(fmt.Errorf("decode %s: %w", e.Type, err))
			}

			c, ok := any(&payload).(checker)
			if ok {
				err := c.Check()
				if err != nil {
					return Permanent(fmt.Errorf("check %s: %w", e.Type, err))
				}
			}

			return handle(ctx, payload)
		},
	}
}

// Route combines typed handlers. Each event goes to the handler of its type.
//
//	bus.Route(wallet.OnEscrowHeld(f.held), wallet.OnEscrowSettled(f.settled))
//
// It panics if a handler has no types, or if two handlers have the same type.
func Route(handlers ...Handler) Handler {
	byType := map[string]Handler{}
	r := &typedHandler{handle: func(ctx context.Context, e *Event) error {
		h, ok := byType[e.Type]
		if !ok {
			return Permanent(fmt.Errorf("no handler for type %s", e.Type))
		}

		return h.Handle(ctx, e)
	}}

	for _, h := range handlers {
		types := EventTypesOf(h)
		if len(types) == 0 {
			panic("bus.Route: a handler without event types: use bus.Typed")
		}

		for _, t := range types {
			if byType[t] != nil {
				panic("bus.Route: two handlers for " + t)
			}

			byType[t] = h
			r.types = append(r.types, t)
		}
	}

	return r
}

type typedHandler struct {
	types  []string
	handle HandlerFunc
}

// Handle implements Handler.
func (h *typedHandler) Handle(ctx context.Context, e *Event) error { return h.handle(ctx, e) }

// EventTypes returns the default Types of a Subscription with this Handler.
func (h *typedHandler) EventTypes() []string { return h.types }

// EventTypesOf returns the event types of a handler that Typed or Route made, or nil.
func EventTypesOf(h Handler) []string {
	t, ok := h.(interface{ EventTypes() []string })
	if ok {
		return t.EventTypes()
	}
	return nil
}
