package streamentry

import (
	"unsafe"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// The shapes of a delivery's arguments, see AppendDelivery. Any other value is the number of
// arguments that follow.
const (
	shapeWithFeature = 0 // amount, reason, feature, data
	shapeNoFeature   = 1 // amount, reason, data
)

// AppendEventFields appends the names and values of an event's fields as arguments of XADD. It adds
// one text.
func AppendEventFields(args []any, e *bus.Event, texts *Texts) []any {
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

	return append(args, "data", texts.AddText(UnsafeString(e.Data)))
}

// AppendDelivery appends a delivery as arguments of publish.lua: id, type, seq, chain, shape and the
// fields. Nearly all deliveries have one of two shapes that need no field names. This saves a
// seventh of the time that Redis needs for an event.
func AppendDelivery(args []any, d *bus.Delivery, texts *Texts) []any {
	args = append(args, &d.ID, &d.Type, &d.Seq, texts.AddChain(d.Chain), nil)
	fields := len(args) // the shape is at fields-1
	data := texts.AddText(UnsafeString(d.Data))
	if hasUsualFields(d) {
		if d.Feature != "" {
			args[fields-1] = shapeWithFeature
			return append(args, &d.Amount, &d.Reason, &d.Feature, data)
		}

		args[fields-1] = shapeNoFeature
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
		args = append(args, "view", texts.AddText(UnsafeString(d.View)))
	}

	if d.SecondParty {
		args = append(args, "copy", "1")
	}

	if d.TraceParent != "" {
		args = append(args, "traceparent", &d.TraceParent)
	}

	args[fields-1] = len(args) - fields // at least 2, so it is not one of the shapes
	return args
}

// hasUsualFields reports whether the delivery has one of the two shapes without field names.
func hasUsualFields(d *bus.Delivery) bool {
	if d.View != nil || d.SecondParty || d.TraceParent != "" {
		return false
	}
	return d.Amount != 0 && d.Reason != ""
}

// UnsafeString is string(b) without the copy. b must not change while the string is in use. This
// holds for payloads, which do not change after the commit, and for data that was read from Redis.
func UnsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
