package streamentry

import (
	"strconv"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// EventFields returns the stream fields of an event.
func EventFields(e *bus.Event) map[string]string {
	fields := map[string]string{
		"id":   e.ID,
		"type": e.Type,
		"data": string(e.Data),
	}

	optional := map[string]string{
		"account":     e.Account,
		"key":         e.Key,
		"reason":      e.Reason,
		"feature":     e.Feature,
		"traceparent": e.TraceParent,
	}

	for name, value := range optional {
		if value != "" {
			fields[name] = value
		}
	}

	if e.Seq > 0 {
		fields["seq"] = strconv.FormatInt(e.Seq, 10)
		fields["chain"] = e.Chain.String()
	}

	if e.Amount > 0 {
		fields["amount"] = strconv.FormatInt(e.Amount, 10)
	}

	return fields
}
