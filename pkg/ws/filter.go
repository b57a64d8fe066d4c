package ws

import "slices"

// filter decides by an event's routing fields. A nil list lets everything pass.
type filter struct {
	types     []string
	reasons   []string
	features  []string
	minAmount int64
}

// passes reports whether the subscription asked for the event. An event that lacks a field never
// passes a filter on that field.
func (f *filter) passes(e *event) bool {
	return listAllows(f.types, e.Type) &&
		listAllows(f.reasons, e.Reason) &&
		listAllows(f.features, e.Feature) &&
		e.Amount >= f.minAmount
}

func listAllows(list []string, value string) bool {
	return list == nil || slices.Contains(list, value)
}
