package streamentry

import (
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/resp"
)

// DecodeMessage is DecodeReply for one entry that go-redis parsed.
func (dec *Decoder) DecodeMessage(id string, values map[string]any) (ID, error) {
	parsed, ok := ParseID([]byte(id))
	if !ok {
		return ID{}, fmt.Errorf("%w: entry id %q", resp.ErrProtocol, id)
	}

	d := dec.nextDelivery(parsed)
	for name, value := range values {
		text, _ := value.(string)
		dec.setField(d, []byte(name), []byte(text))
	}

	dec.keepDelivery(d)
	return parsed, nil
}

// Event is an entry as a consumer group reads it.
type Event struct {
	bus.Event
	SecondParty bool   // the entry is the second party's delivery of an event with two parties
	Subscriber  string // in a replayed dead letter, the subscription that failed
	Valid       bool   // the entry has an id, a type and payloads on one line, and its numbers are valid
}

// DecodeEvent decodes the fields of an entry that go-redis parsed. Of an invalid entry it decodes
// the valid fields.
func (dec *Decoder) DecodeEvent(values map[string]any) Event {
	var d bus.Delivery
	var event Event
	dec.invalid = false
	for name, value := range values {
		text, _ := value.(string)
		switch name {
		case "key":
			event.Key = text
		case "subscriber":
			event.Subscriber = text
		default:
			dec.setField(&d, []byte(name), []byte(text))
		}
	}

	event.Valid = isValidEvent(&d) && !dec.invalid
	event.SecondParty = d.SecondParty
	event.ID = d.ID
	event.Type = d.Type
	event.Account = d.Account
	event.Seq = max(0, d.Seq)
	event.Chain = d.Chain
	event.Amount = max(0, d.Amount)
	event.Reason = d.Reason
	event.Feature = d.Feature
	event.TraceParent = d.TraceParent
	event.Data = d.Data

	return event
}

func isValidEvent(d *bus.Delivery) bool {
	if d.ID == "" || len(d.Data) == 0 || !bus.ValidName(d.Type, bus.MaxTypeBytes) {
		return false
	}
	return d.Seq >= 0 && d.Amount >= 0 && !d.HasLineBreak()
}
