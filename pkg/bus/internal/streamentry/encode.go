package streamentry

import (
	"unsafe"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// AppendEventFields appends the names and values of an event's fields, as XADD takes them.
func AppendEventFields(args []any, e *bus.Event, text func(string) *string) []any {
	args = append(args, "id", &e.ID, "type", &e.Type)
	if e.Account != "" {
		args = append(args, "account", &e.Account)
	}
	if e.Key != "" {
		args = append(args, "key", &e.Key)
	}
	if e.Amount != 0 {
		args = append(args, "amount", &e.Amount)
	}
	if e.Reason != "" {
		args = append(args, "reason", &e.Reason)
	}
	if e.Feature != "" {
		args = append(args, "feature", &e.Feature)
	}
	if e.TraceParent != "" {
		args = append(args, "traceparent", &e.TraceParent)
	}
	return append(args, "data", text(UnsafeString(e.Data)))
}

// AppendDelivery appends a delivery as publish.lua takes it: id, type, seq, shape, then the fields. Nearly all deliveries
// have one of two shapes, which leave the fields' names out: that saves Redis a seventh of its time for an event.
func AppendDelivery(args []any, d *bus.Delivery, text func(string) *string) []any {
	args = append(args, &d.ID, &d.Type, &d.Seq, nil)
	shape, data := len(args), text(UnsafeString(d.Data)) // shape's place is the last nil
	if d.Amount != 0 && d.Reason != "" && d.View == nil && !d.SecondParty && d.TraceParent == "" {
		if d.Feature != "" {
			args[shape-1] = 0
			return append(args, &d.Amount, &d.Reason, &d.Feature, data)
		}
		args[shape-1] = 1
		return append(args, &d.Amount, &d.Reason, data)
	}
	if d.Amount != 0 {
		args = append(args, "amount", &d.Amount)
	}
	if d.Reason != "" {
		args = append(args, "reason", &d.Reason)
	}
	if d.Feature != "" {
		args = append(args, "feature", &d.Feature)
	}
	args = append(args, "data", data)
	if d.View != nil {
		args = append(args, "view", text(UnsafeString(d.View)))
	}
	if d.SecondParty {
		args = append(args, "copy", "1")
	}
	if d.TraceParent != "" {
		args = append(args, "traceparent", &d.TraceParent)
	}
	args[shape-1] = len(args) - shape // 2 at least
	return args
}

// UnsafeString is string(b) without the copy. Nobody writes to b while the
// string lives: payloads do not change once they are committed, nor does what
// was read from Redis.
func UnsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
