package recent

import "slices"

// A Memory keeps recent events in the order of their arrival, linked backwards by account, so that
// a client that was away for a moment is served without asking anybody. It is bounded in events and
// bytes. The oldest events go first.
type Memory struct {
	MaxEvents int
	MaxBytes  int

	slots []slot // circular; the length is a power of two
	head  uint64 // position of the oldest event
	tail  uint64 // position after the newest
	bytes int
}

type slot struct {
	event    *Event
	previous uint64 // 1 + position of the account's event before it; 0: not in memory
}

const firstSlots = 16

// A Chain is an account's part of a Memory: the events from first to newest, without a gap.
type Chain struct {
	newest int64  // seq of the newest event that was ever added; 0: none
	first  int64  // seq of the oldest event that is in memory, if last is not 0
	last   uint64 // 1 + position of the newest event; 0: it is not in memory
}

// Newest is the seq of the newest event that was ever added. It is 0 when there was none.
func (c *Chain) Newest() int64 { return c.newest }

// IsEmpty reports whether no event of the account is in memory.
func (c *Chain) IsEmpty() bool { return c.last == 0 }

// Holds reports whether all events from next up to the newest are in memory.
func (c *Chain) Holds(next int64) bool {
	return c.last != 0 && next >= c.first && next <= c.newest
}

// HoldsAfter reports whether all events after that seq are in memory. There may be none.
func (c *Chain) HoldsAfter(seq int64) bool {
	return c.Holds(seq+1) || (c.last != 0 && c.newest == seq)
}

// Add keeps the event as the newest of its chain. An event that leaves a gap begins the chain anew.
func (m *Memory) Add(c *Chain, e *Event) {
	s := slot{event: e}
	if c.last != 0 && e.Seq == c.newest+1 {
		s.previous = c.last
	} else {
		c.first = e.Seq
	}
	if m.Len() == len(m.slots) {
		m.grow()
	}
	*m.slot(m.tail) = s
	m.tail++
	m.bytes += e.size()
	c.newest = e.Seq
	c.last = m.tail
}

// Len is the number of events in memory.
func (m *Memory) Len() int { return int(m.tail - m.head) } //nolint:gosec // at most MaxEvents

// Bytes is about what the events take.
func (m *Memory) Bytes() int { return m.bytes }

// slot returns the slot of a position.
func (m *Memory) slot(position uint64) *slot { return &m.slots[position&uint64(len(m.slots)-1)] }

func (m *Memory) grow() {
	old := *m
	m.slots = make([]slot, max(firstSlots, 2*len(old.slots)))
	for p := m.head; p != m.tail; p++ {
		*m.slot(p) = *old.slot(p)
	}
}

// IsFull reports whether the oldest event has to go.
func (m *Memory) IsFull() bool {
	return m.Len() > m.MaxEvents || (m.bytes > m.MaxBytes && m.Len() > 0)
}

// RemoveOldest takes the oldest event out. The caller passes the result to Forget of its chain.
func (m *Memory) RemoveOldest() (e *Event, position uint64) {
	s := m.slot(m.head)
	e = s.event
	*s = slot{}
	m.head++
	m.bytes -= e.size()
	return e, m.head
}

// Forget notes that an event of the account has left the memory.
func (c *Chain) Forget(e *Event, position uint64) {
	switch {
	case c.last == position:
		c.last = 0
	case e.Seq >= c.first: // events of a chain that was begun anew are lower
		c.first = e.Seq + 1
	}
}

// AppendSince appends the events from next on to dst, oldest first, at most limit and about
// maxBytes, but at least one. The chain must hold next.
func (m *Memory) AppendSince(dst []*Event, c *Chain, next int64, limit, maxBytes int) []*Event {
	start := len(dst)
	p := c.last
	for n := int(c.newest-next) + 1; n > 0; n-- { // the link before next may lead nowhere
		s := m.slot(p - 1)
		if n <= limit {
			dst = append(dst, s.event)
		}
		p = s.previous
	}
	found := dst[start:]
	slices.Reverse(found)
	return dst[:start+CountFitting(found, len(found), maxBytes)]
}

// CountFitting returns how many of the events fit into limit and about maxBytes: at least one, if
// there is one.
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
