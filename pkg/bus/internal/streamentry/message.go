package streamentry

import (
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// DecodeMessage is DecodeReply for one entry that go-redis parsed.
func (e *Decoder) DecodeMessage(id string, values map[string]any) (ID, error) {
	parsed, ok := ParseID([]byte(id))
	if !ok {
		return ID{}, fmt.Errorf("%w: entry id %q", resp.ErrProtocol, id)
	}
	d := e.next(parsed)
	for name, value := range values {
		text, _ := value.(string)
		e.set(d, []byte(name), []byte(text))
	}
	e.keep(d)
	return parsed, nil
}

// Event is an entry as a consumer group reads it.
type Event struct {
	bus.Event
	SecondParty bool   // the second party's delivery of an event with two
	Subscriber  string // the subscription that failed, in an entry that a dead letter was replayed as
	Valid       bool   // the entry is an event: it has an id, a type and data, and its numbers are numbers
}

// DecodeEvent reads the fields of an entry that go-redis parsed. It reads what it can of an entry that
// is not valid.
func (e *Decoder) DecodeEvent(values map[string]any) Event {
	var d bus.Delivery
	var event Event
	for name, value := range values {
		text, _ := value.(string)
		switch name {
		case "key":
			event.Key = text
		case "subscriber":
			event.Subscriber = text
		default:
			e.set(&d, []byte(name), []byte(text))
		}
	}
	event.Valid = d.ID != "" && bus.ValidName(d.Type, bus.MaxTypeBytes) && len(d.Data) > 0 && d.Seq >= 0 && d.Amount >= 0
	event.SecondParty = d.SecondParty
	event.ID = d.ID
	event.Type = d.Type
	event.Account = d.Account
	event.Seq = max(0, d.Seq)
	event.Amount = max(0, d.Amount)
	event.Reason = d.Reason
	event.Feature = d.Feature
	event.TraceParent = d.TraceParent
	event.Data = d.Data
	return event
}
