package recent

import (
	"bytes"
	"sync/atomic"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// An Event is one delivery: its routing fields and the JSON that subscribers receive, which is
// never parsed. The memory and all send queues share an Event. It must not change after another
// goroutine can see it.
type Event struct {
	Account string
	Seq     int64
	Chain   bus.Chain // identifies the account's history up to this event
	Type    string
	Reason  string
	Feature string
	Amount  int64
	Body    []byte // the JSON that subscribers receive; DetachBody gives the event its own copy
	Millis  int64  // when Redis stored the stream entry, in ms since 1970; 0: unknown
	Span    *Span  // nil unless the event is traced

	// frames is a list of the frames built so far, one for each subscription name. Clients of one
	// app use the same name, so a thousand subscribers share one frame.
	frames atomic.Pointer[namedFrame]
}

// A namedFrame is the frame for subscriptions with one name. It is a node of a list.
type namedFrame struct {
	sub   string
	bytes []byte
	next  *namedFrame
	depth int
}

// maxSharedFrames is the maximum number of names that share frames of one event. For any other
// name a frame is built for each subscriber.
const maxSharedFrames = 4

// eventOverhead is the estimated size of an event without its body, in bytes.
const eventOverhead = 256

// NewEvent returns the event of a delivery. body is either the full event or the account's own
// view.
func NewEvent(d *bus.Delivery, body []byte) *Event {
	return &Event{
		Account: d.Account,
		Seq:     d.Seq,
		Chain:   d.Chain,
		Type:    d.Type,
		Reason:  d.Reason,
		Feature: d.Feature,
		Amount:  d.Amount,
		Body:    body,
		Millis:  d.StreamMillis,
	}
}

// DetachBody makes the body independent of the buffer of the stream read, which the event would
// otherwise keep in memory as a whole. It must be called before another goroutine can see the
// event.
func (e *Event) DetachBody() {
	f := e.frames.Load()
	if f != nil {
		end := len(f.bytes) - len(`}`)
		e.Body = f.bytes[end-len(e.Body) : end]
		return
	}

	e.Body = bytes.Clone(e.Body)
}

// memorySize returns the estimated size of the event with one built frame, in bytes.
func (e *Event) memorySize() int {
	return 2*len(e.Body) + eventOverhead
}

// Frame returns the frame of the event for subscriptions with the name sub. quotedSub is the same
// name as JSON.
func (e *Event) Frame(sub string, quotedSub []byte) []byte {
	first := e.frames.Load()
	for f := first; f != nil; f = f.next {
		if f.sub == sub {
			return f.bytes
		}
	}

	f := &namedFrame{
		sub:   sub,
		bytes: protocol.EventFrame(quotedSub, e.Account, e.Seq, e.Chain, e.Body),
		next:  first,
	}

	if first != nil {
		f.depth = first.depth + 1
	}

	if f.depth < maxSharedFrames {
		e.frames.CompareAndSwap(first, f) // after a lost race the frame is only built again
	}

	return f.bytes
}
