package ws

import "slices"

// filter decides by an event's routing fields. A nil list lets everything pass.
type filter struct {
	types     []string
	reasons   []string
	features  []string
	minAmount int64
}

// passes tells whether the event is one that the subscription asked for. An event
// that lacks a field never passes a filter on that field.
func (f *filter) passes(e *event) bool {
	return (f.types == nil || slices.Contains(f.types, e.typ)) &&
		(f.reasons == nil || slices.Contains(f.reasons, e.reason)) &&
		(f.features == nil || slices.Contains(f.features, e.feature)) &&
		e.amount >= f.minAmount
}
