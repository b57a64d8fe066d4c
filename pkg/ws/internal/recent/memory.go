package recent

import (
	"slices"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// A Memory keeps recent events in the order of their arrival. The events of each account are linked
// from newest to oldest. A client that was disconnected for a short time is therefore served
// without a request to the core. A Memory is bounded in events and bytes: the caller removes the
// oldest events while it is full.
type Memory struct {
	MaxEvents int
	MaxBytes  int

	slots []slot // circular; the length is a power of two
	head  uint64 // position of the oldest event
	tail  uint64 // position after the newest event
	bytes int
}

type slot struct {
	event    *Event
	previous uint64 // 1 + position of the account's previous event; 0: not in memory
}

const firstSlots = 16

// A Run is the part of a Memory that belongs to one account: the events from first to newest,
// without a gap. It also has the chain of the event before the first one, if that is known.
type Run struct {
	newest      int64     // seq of the newest event that was added since the last reset; 0: none
	newestChain bus.Chain // of the newest event
	first       int64     // seq of the oldest event in memory, if last is not 0
	before      bus.Chain // of the event before the first one, if beforeKnown
	beforeKnown bool
	start       uint64 // no event of the run has a lower position
	last        uint64 // 1 + position of the newest event; 0: it is not in memory
}

// Newest returns the seq of the newest event, or 0 if there was none.
func (r *Run) Newest() int64 {
	return r.newest
}

// IsEmpty reports whether no event of the account is in memory.
func (r *Run) IsEmpty() bool {
	return r.last == 0
}

// Reset empties the run. Events after seq continue it, and chain is the chain at seq. The run is
// empty and knows no event if seq is 0.
func (r *Run) Reset(seq int64, chain bus.Chain) {
	*r = Run{newest: seq, newestChain: chain}
}

// Holds reports whether all events from next up to the newest are in memory. It is false when next
// is greater than the newest seq.
func (r *Run) Holds(next int64) bool {
	return r.last != 0 && next >= r.first && next <= r.newest
}

// HoldsAfter reports whether all events after seq are in memory. There may be none.
func (r *Run) HoldsAfter(seq int64) bool {
	isNewest := r.last != 0 && r.newest == seq
	return isNewest || r.Holds(seq+1)
}

// ChainAt returns the chain of the event with the seq. known is false when neither the event nor
// its successor is in memory. The chain at seq 0 is always known.
func (m *Memory) ChainAt(r *Run, seq int64) (chain bus.Chain, known bool) {
	switch {
	case seq == r.newest:
		return r.newestChain, true
	case seq == 0:
		return 0, true
	case r.last == 0 || seq < r.first-1 || seq > r.newest:
		return 0, false
	case seq == r.first-1:
		return r.before, r.beforeKnown
	}

	p := r.last
	for n := r.newest - seq; n > 0; n-- {
		p = m.slotAt(p - 1).previous
	}

	return m.slotAt(p - 1).event.Chain, true
}

// Add adds the event as the newest of its run. If its seq does not follow the newest seq, the run
// starts again with this event.
func (m *Memory) Add(r *Run, e *Event) {
	s := slot{event: e}
	continues := e.Seq == r.newest+1
	if r.last != 0 && continues {
		s.previous = r.last
	} else {
		r.first = e.Seq
		r.before = r.newestChain
		r.beforeKnown = continues
		r.start = m.tail
	}

	if m.Len() == len(m.slots) {
		m.growSlots()
	}

	*m.slotAt(m.tail) = s
	m.tail++
	m.bytes += e.memorySize()

	r.newest = e.Seq
	r.newestChain = e.Chain
	r.last = m.tail
}

// Len returns the number of events in memory.
func (m *Memory) Len() int {
	return int(m.tail - m.head) //nolint:gosec // at most MaxEvents
}

// Bytes returns the estimated size of the events in memory.
func (m *Memory) Bytes() int {
	return m.bytes
}

// slotAt returns the slot of a position.
func (m *Memory) slotAt(position uint64) *slot {
	return &m.slots[position&uint64(len(m.slots)-1)]
}

func (m *Memory) growSlots() {
	old := *m
	m.slots = make([]slot, max(firstSlots, 2*len(old.slots)))
	for p := m.head; p != m.tail; p++ {
		*m.slotAt(p) = *old.slotAt(p)
	}
}

// Clear removes all events. The caller must reset the runs.
func (m *Memory) Clear() {
	clear(m.slots)
	m.head = m.tail
	m.bytes = 0
}

// IsFull reports whether the oldest event must be removed.
func (m *Memory) IsFull() bool {
	tooLarge := m.bytes > m.MaxBytes && m.Len() > 0
	return tooLarge || m.Len() > m.MaxEvents
}

// RemoveOldest removes the oldest event. The caller must pass the result to Forget of the event's
// run.
func (m *Memory) RemoveOldest() (e *Event, position uint64) {
	s := m.slotAt(m.head)
	e = s.event
	*s = slot{}
	m.head++
	m.bytes -= e.memorySize()

	return e, m.head
}

// Forget records that RemoveOldest removed an event of the account.
func (r *Run) Forget(e *Event, position uint64) {
	switch {
	case r.last == 0 || position <= r.start:
		// The event is from before the run started again.
	case r.last == position:
		r.last = 0
	default:
		r.first = e.Seq + 1
		r.before = e.Chain
		r.beforeKnown = true
	}
}

// AppendSince appends the events from next on to dst, oldest first: at most limit events and about
// maxBytes, but at least one event. The run must hold next.
func (m *Memory) AppendSince(dst []*Event, r *Run, next int64, limit, maxBytes int) []*Event {
	start := len(dst)
	p := r.last
	// The loop ends at next, because the link before next may be stale.
	for n := int(r.newest-next) + 1; n > 0; n-- {
		s := m.slotAt(p - 1)
		if n <= limit {
			dst = append(dst, s.event)
		}

		p = s.previous
	}

	found := dst[start:]
	slices.Reverse(found)

	return dst[:start+CountFitting(found, len(found), maxBytes)]
}

// CountFitting returns how many of the events fit into limit and about maxBytes. It returns at
// least 1 if there is an event.
func CountFitting(events []*Event, limit, maxBytes int) int {
	n := 0
	bytes := 0
	for n < len(events) && n < limit {
		bytes += len(events[n].Body)
		if n > 0 && bytes > maxBytes {
			break
		}

		n++
	}

	return n
}
