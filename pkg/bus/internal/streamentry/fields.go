package streamentry

import (
	"strconv"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// EventFields are an event's stream fields.
func EventFields(e *bus.Event) map[string]string {
	f := map[string]string{"id": e.ID, "type": e.Type, "data": string(e.Data)}
	for name, value := range map[string]string{"account": e.Account, "key": e.Key, "reason": e.Reason, "feature": e.Feature, "traceparent": e.TraceParent} {
		if value != "" {
			f[name] = value
		}
	}
	if e.Seq > 0 {
		f["seq"] = strconv.FormatInt(e.Seq, 10)
	}
	if e.Amount > 0 {
		f["amount"] = strconv.FormatInt(e.Amount, 10)
	}
	return f
}
