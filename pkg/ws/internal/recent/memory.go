package recent

import "slices"

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

// A Chain is the part of a Memory that belongs to one account: the events from first to newest,
// without a gap.
type Chain struct {
	newest int64  // seq of the newest event that was ever added; 0: none
	first  int64  // seq of the oldest event in memory, if last is not 0
	last   uint64 // 1 + position of the newest event; 0: it is not in memory
}

// Newest returns the seq of the newest event that was ever added, or 0 if there was none.
func (c *Chain) Newest() int64 {
	return c.newest
}

// IsEmpty reports whether no event of the account is in memory.
func (c *Chain) IsEmpty() bool {
	return c.last == 0
}

// Holds reports whether all events from next up to the newest are in memory. It is false when next
// is greater than the newest seq.
func (c *Chain) Holds(next int64) bool {
	return c.last != 0 && next >= c.first && next <= c.newest
}

// HoldsAfter reports whether all events after seq are in memory. There may be none.
func (c *Chain) HoldsAfter(seq int64) bool {
	isNewest := c.last != 0 && c.newest == seq
	return isNewest || c.Holds(seq+1)
}

// Add adds the event as the newest of its chain. If its seq does not follow the newest seq, the
// chain starts again with this event.
func (m *Memory) Add(c *Chain, e *Event) {
	s := slot{event: e}
	if c.last != 0 && e.Seq == c.newest+1 {
		s.previous = c.last
	} else {
		c.first = e.Seq
	}

	if m.Len() == len(m.slots) {
		m.growSlots()
	}

	*m.slotAt(m.tail) = s
	m.tail++
	m.bytes += e.memorySize()

	c.newest = e.Seq
	c.last = m.tail
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

// IsFull reports whether the oldest event must be removed.
func (m *Memory) IsFull() bool {
	tooLarge := m.bytes > m.MaxBytes && m.Len() > 0
	return tooLarge || m.Len() > m.MaxEvents
}

// RemoveOldest removes the oldest event. The caller must pass the result to Forget of the event's
// chain.
func (m *Memory) RemoveOldest() (e *Event, position uint64) {
	s := m.slotAt(m.head)
	e = s.event
	*s = slot{}
	m.head++
	m.bytes -= e.memorySize()

	return e, m.head
}

// Forget records that RemoveOldest removed an event of the account.
func (c *Chain) Forget(e *Event, position uint64) {
	switch {
	case c.last == position:
		c.last = 0
	case e.Seq >= c.first: // a lower seq is from before the chain started again
		c.first = e.Seq + 1
	}
}

// AppendSince appends the events from next on to dst, oldest first: at most limit events and about
// maxBytes, but at least one event. The chain must hold next.
func (m *Memory) AppendSince(dst []*Event, c *Chain, next int64, limit, maxBytes int) []*Event {
	start := len(dst)
	p := c.last
	// The loop ends at next, because the link before next may be stale.
	for n := int(c.newest-next) + 1; n > 0; n-- {
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
