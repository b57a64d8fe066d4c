package ws

import (
	"bytes"
	"sync/atomic"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// event is one delivery as this gateway keeps it: the routing fields, and the
// account's view as bytes that nobody ever parses. It is shared by the memory for
// resume and by all queues, and does not change.
type event struct {
	account string
	seq     int64
	typ     string
	reason  string
	feature string
	amount  int64
	body    []byte // the JSON that subscribers see; keep gives the event its own copy
	millis  int64  // when Redis took it, in ms since 1970; 0: unknown (from history)

	// frames holds the frames built so far, one for each subscription name. Apps
	// name their subscriptions alike, so a thousand subscribers share one frame.
	frames atomic.Pointer[namedFrame]

	span *deliverySpan // nil unless this is a traced event on its way
}

type namedFrame struct {
	sub   string
	bytes []byte
	next  *namedFrame
	depth int
}

// maxSharedFrames bounds how many names share frames of one event; frames for
// further names are built for each subscriber.
const maxSharedFrames = 4

// eventOverhead is what an event takes besides its body, roughly, when its memory
// is counted.
const eventOverhead = 256

func newEvent(d *bus.Delivery, body []byte) *event {
	return &event{
		account: d.Account, seq: d.Seq,
		typ: d.Type, reason: d.Reason, feature: d.Feature, amount: d.Amount,
		body: body, millis: d.StreamMillis,
	}
}

// keep makes the event independent of the read that brought it, whose buffer it
// would keep in memory as a whole. It is called by the one that made the event,
// before anybody else can see it.
func (e *event) keep() {
	if f := e.frames.Load(); f != nil {
		end := len(f.bytes) - 1
		e.body = f.bytes[end-len(e.body) : end]
		return
	}
	e.body = bytes.Clone(e.body)
}

// size is what the event takes in memory, with one built frame, roughly.
func (e *event) size() int { return 2*len(e.body) + eventOverhead }

// frame is the event's frame for subscriptions of that name, whose quoted form
// is given too.
func (e *event) frame(sub string, quoted []byte) []byte {
	first := e.frames.Load()
	for f := first; f != nil; f = f.next {
		if f.sub == sub {
			return f.bytes
		}
	}
	f := &namedFrame{sub: sub, bytes: protocol.EventFrame(quoted, e.account, e.seq, e.body), next: first}
	if first != nil {
		f.depth = first.depth + 1
	}
	if f.depth < maxSharedFrames {
		e.frames.CompareAndSwap(first, f) // losing a race costs a second build, nothing else
	}
	return f.bytes
}
