package ws

// memory keeps the recent events of a shard in the order of their arrival, linked
// backwards by account, so that a client that was away for a moment is served
// without a question to anybody. It is bounded in events and bytes; the oldest go
// first.
type memory struct {
	slots     []slot // circular; the length is a power of two
	head      uint64 // position of the oldest event
	tail      uint64 // position after the newest
	bytes     int
	maxEvents int
	maxBytes  int
}

type slot struct {
	event *event
	prev  uint64 // 1 + position of the account's event before it; 0: not here
}

const firstSlots = 16

// chain is an account's part of a shard's memory: the events first … newest,
// without a hole, unless last is 0.
type chain struct {
	first  int64  // seq of the oldest event that is still here
	newest int64  // seq of the newest event that was ever delivered; 0: none
	last   uint64 // 1 + position of the newest event; 0: it is not here
}

// holds tells whether all events from next up to the newest are here.
func (c *chain) holds(next int64) bool {
	return c.last != 0 && next >= c.first && next <= c.newest
}

// add keeps the event as the newest of its chain. An event that leaves a hole
// begins the chain anew.
func (m *memory) add(c *chain, e *event) {
	s := slot{event: e}
	if c.last != 0 && e.seq == c.newest+1 {
		s.prev = c.last
	} else {
		c.first = e.seq
	}
	if int(m.tail-m.head) == len(m.slots) {
		m.grow()
	}
	m.slots[m.tail&uint64(len(m.slots)-1)] = s
	m.tail++
	m.bytes += e.size()
	c.newest, c.last = e.seq, m.tail
}

func (m *memory) grow() {
	bigger := make([]slot, max(firstSlots, 2*len(m.slots)))
	for p := m.head; p != m.tail; p++ {
		bigger[p&uint64(len(bigger)-1)] = m.slots[p&uint64(len(m.slots)-1)]
	}
	m.slots = bigger
}

// full tells whether the oldest event has to go.
func (m *memory) full() bool {
	return int(m.tail-m.head) > m.maxEvents || (m.bytes > m.maxBytes && m.tail != m.head)
}

// oldest takes the oldest event out. The caller passes it to its chain's forget.
func (m *memory) oldest() (e *event, position uint64) {
	s := &m.slots[m.head&uint64(len(m.slots)-1)]
	e = s.event
	*s = slot{}
	m.head++
	m.bytes -= e.size()
	return e, m.head
}

// forget notes that an event of the account has left the memory. position is what
// last was when the event was the newest.
func (c *chain) forget(e *event, position uint64) {
	switch {
	case c.last == position:
		c.last = 0
	case e.seq >= c.first: // events of a chain that was begun anew are lower
		c.first = e.seq + 1
	}
}

// since appends the events from next on to dst, oldest first, at most limit and
// about maxBytes, but at least one. The chain must hold next.
func (m *memory) since(c *chain, next int64, limit, maxBytes int, dst []*event) []*event {
	start := len(dst)
	p := c.last
	for n := int(c.newest-next) + 1; n > 0; n-- { // the link before next may lead nowhere
		s := &m.slots[(p-1)&uint64(len(m.slots)-1)]
		if n <= limit {
			dst = append(dst, s.event)
		}
		p = s.prev
	}
	found := dst[start:]
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return dst[:start+cut(found, len(found), maxBytes)]
}

// cut tells how many of the events fit into limit and about maxBytes, at least one
// when there is one.
func cut(events []*event, limit, maxBytes int) int {
	n, bytes := 0, 0
	for n < len(events) && n < limit {
		bytes += len(events[n].body)
		if n > 0 && bytes > maxBytes {
			break
		}
		n++
	}
	return n
}
