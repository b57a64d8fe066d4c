package recent

import (
	"bytes"
	"sync/atomic"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// An Event is one delivery: its routing fields, and the account's view as bytes that nobody parses.
// It is shared by the memory and by all send queues, and does not change once others see it.
type Event struct {
	Account string
	Seq     int64
	Type    string
	Reason  string
	Feature string
	Amount  int64
	Body    []byte // the JSON that subscribers see; Keep gives the event its own copy
	Millis  int64  // when Redis took it, in ms since 1970; 0: unknown (from history)
	Span    *Span  // nil unless this is a traced event on its way

	// frames holds the frames built so far, one for each subscription name. Apps name their
	// subscriptions alike, so a thousand subscribers share one frame.
	frames atomic.Pointer[namedFrame]
}

// namedFrame is a frame for subscriptions of one name, in a list.
type namedFrame struct {
	sub   string
	bytes []byte
	next  *namedFrame
	depth int
}

// maxSharedFrames bounds how many names share frames of one event. Frames for further names are
// built for each subscriber.
const maxSharedFrames = 4

// eventOverhead is about what an event takes besides its body, when its memory is counted.
const eventOverhead = 256

// NewEvent returns the event of a delivery, with a body that is the delivery's full event or the
// account's own view.
func NewEvent(d *bus.Delivery, body []byte) *Event {
	return &Event{
		Account: d.Account,
		Seq:     d.Seq,
		Type:    d.Type,
		Reason:  d.Reason,
		Feature: d.Feature,
		Amount:  d.Amount,
		Body:    body,
		Millis:  d.StreamMillis,
	}
}

// Keep makes the event independent of the read that brought it, whose buffer it would keep in
// memory as a whole. It must be called before others can see the event.
func (e *Event) Keep() {
	if f := e.frames.Load(); f != nil {
		end := len(f.bytes) - len(`}`)
		e.Body = f.bytes[end-len(e.Body) : end]
		return
	}
	e.Body = bytes.Clone(e.Body)
}

// size is about what the event takes in memory, with one built frame.
func (e *Event) size() int { return 2*len(e.Body) + eventOverhead }

// Frame returns the event's frame for subscriptions of that name, which is also given as JSON.
func (e *Event) Frame(sub string, quotedSub []byte) []byte {
	first := e.frames.Load()
	for f := first; f != nil; f = f.next {
		if f.sub == sub {
			return f.bytes
		}
	}
	f := &namedFrame{
		sub:   sub,
		bytes: protocol.EventFrame(quotedSub, e.Account, e.Seq, e.Body),
		next:  first,
	}
	if first != nil {
		f.depth = first.depth + 1
	}
	if f.depth < maxSharedFrames {
		e.frames.CompareAndSwap(first, f) // losing a race costs a second build, nothing else
	}
	return f.bytes
}
