package ws

import "slices"

// A filter selects events by their routing fields. A nil list matches every value.
type filter struct {
	types     []string
	reasons   []string
	features  []string
	minAmount int64
}

// allowsEvent reports whether the event passes the filter. An event that lacks a field never passes
// a filter on that field.
func (f *filter) allowsEvent(e *event) bool {
	return listAllows(f.types, e.Type) &&
		listAllows(f.reasons, e.Reason) &&
		listAllows(f.features, e.Feature) &&
		e.Amount >= f.minAmount
}

func listAllows(list []string, value string) bool {
	return list == nil || slices.Contains(list, value)
}
