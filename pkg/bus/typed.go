package bus

import (
	"context"
	"encoding/json"
	"fmt"
)

// Typed makes a function that takes a payload's own type a Handler of one event
// type. The payload is the event's JSON decoded into a T; unknown fields are left
// out. A payload that is no T is a Permanent error, and so is what T's method
// Check() error finds, if T or *T has one: versions that this program does not know
// belong there.
func Typed[T any](eventType string, handle func(ctx context.Context, payload T) error) Handler {
	return &typedHandler{
		types: []string{eventType},
		handle: func(ctx context.Context, e *Event) error {
			var payload T
			if err := json.Unmarshal(e.Data, &payload); err != nil {
				return Permanent(fmt.Errorf("decode %s: %w", e.Type, err))
			}
			if c, ok := any(&payload).(interface{ Check() error }); ok {
				if err := c.Check(); err != nil {
					return Permanent(fmt.Errorf("check %s: %w", e.Type, err))
				}
			}
			return handle(ctx, payload)
		},
	}
}

// Route makes several typed handlers one, which hands each event to the one for its
// type.
//
//	bus.Route(wallet.OnEscrowHeld(f.held), wallet.OnEscrowSettled(f.settled))
//
// It panics when a handler tells of no types, or two of the same one: the program
// would never do what it says.
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

// EventTypes is what a Subscription without Types asks its Handler for.
func (h *typedHandler) EventTypes() []string { return h.types }

// EventTypesOf returns the event types that a handler of Typed or Route is for, or nil.
func EventTypesOf(h Handler) []string {
	if t, ok := h.(interface{ EventTypes() []string }); ok {
		return t.EventTypes()
	}
	return nil
}
