package request

import (
	"slices"

	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// A Filter selects events by their routing fields. A nil list matches every value.
type Filter struct {
	Types     []string
	Reasons   []string
	Features  []string
	MinAmount int64
}

// AllowsEvent reports whether the event passes the filter. An event that lacks a field never passes
// a filter on that field.
func (f *Filter) AllowsEvent(e *recent.Event) bool {
	return listAllows(f.Types, e.Type) &&
		listAllows(f.Reasons, e.Reason) &&
		listAllows(f.Features, e.Feature) &&
		e.Amount >= f.MinAmount
}

func listAllows(list []string, value string) bool {
	return list == nil || slices.Contains(list, value)
}
