package ws

import (
	"sync"
	"time"
)

// item is a frame on its way to a client. The frame's bytes may be shared with
// other clients.
type item struct {
	frame []byte // nil: a heartbeat
	event *event // nil: not an event frame
}

// sendQueue is the bounded queue between the engine, which never waits, and one
// client's connection.
type sendQueue struct {
	maxItems, maxBytes int

	mu        sync.Mutex // protects what follows; nothing else is locked inside it
	queue     []item     // nil when nothing waits
	head      int        // queue[head:] waits
	bytes     int
	frames    int           // taken out so far
	total     int           // their bytes
	sealed    bool          // nothing more goes in
	scheduled bool          // somebody has been told to write and has not found it empty since
	room      chan struct{} // closed when there is room again; nil: nobody waits for it
}

// chunkItems is the capacity that queues begin with. Most connections are idle most
// of the time: what they do not need goes to others.
const chunkItems = 32

var chunks = sync.Pool{New: func() any { return new([chunkItems]item) }}

// push queues an item. first tells the caller to see to the writing. ok is false
// when the queue is full: the client is too slow and has to go.
func (o *sendQueue) push(it item) (first, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return false, true
	}
	if len(o.queue)-o.head >= o.maxItems || o.bytes+len(it.frame) > o.maxBytes {
		return false, false
	}
	if o.head > 0 && len(o.queue) == cap(o.queue) {
		n := copy(o.queue, o.queue[o.head:])
		clear(o.queue[n:])
		o.queue, o.head = o.queue[:n], 0
	}
	if o.queue == nil {
		chunk, _ := chunks.Get().(*[chunkItems]item)
		o.queue = chunk[:0]
	}
	o.queue = append(o.queue, it)
	o.bytes += len(it.frame)
	first = !o.scheduled
	o.scheduled = true
	return first, true
}

// take moves waiting items to dst, at most limit and about maxBytes. When none
// waits, the next push will be told to see to the writing again.
func (o *sendQueue) take(dst []item, limit, maxBytes int) []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	bytes := 0
	for o.head < len(o.queue) && len(dst) < limit && bytes < maxBytes {
		it := o.queue[o.head]
		o.queue[o.head] = item{}
		o.head++
		bytes += len(it.frame)
		dst = append(dst, it)
	}
	o.bytes -= bytes
	o.frames += len(dst)
	o.total += bytes
	if o.head == len(o.queue) && o.queue != nil {
		if cap(o.queue) == chunkItems { // a larger one came from append
			chunks.Put((*[chunkItems]item)(o.queue[:chunkItems]))
		}
		o.queue, o.head = nil, 0
	}
	if len(dst) == 0 {
		o.scheduled = false
	}
	if o.room != nil && o.roomy() {
		close(o.room)
		o.room = nil
	}
	return dst
}

// seal lets nothing more in. With drop, what waits is thrown away too; the number
// of frames that were is returned.
func (o *sendQueue) seal(drop bool) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
	dropped := 0
	if drop {
		dropped = len(o.queue) - o.head
		o.queue, o.head, o.bytes = nil, 0, 0
	}
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	return dropped
}

// roomy tells whether half of the queue is free. The caller holds mu.
func (o *sendQueue) roomy() bool {
	return o.sealed || (len(o.queue)-o.head <= o.maxItems/2 && o.bytes <= o.maxBytes/2)
}

// waitRoom waits until half of the queue is free, so that a long replay goes at
// the client's pace. It is false when that took longer than timeout.
func (o *sendQueue) waitRoom(done <-chan struct{}, timeout time.Duration) bool {
	room := o.awaitRoom()
	if room == nil {
		return true
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for room != nil {
		select {
		case <-room:
			room = o.awaitRoom()
		case <-done:
			return true
		case <-deadline.C:
			return false
		}
	}
	return true
}

// awaitRoom is closed when there is room again; nil: there is.
func (o *sendQueue) awaitRoom() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.roomy() {
		return nil
	}
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

// closed tells whether the queue was sealed.
func (o *sendQueue) closed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sealed
}

// sent tells what was taken out to be written: frames and bytes.
func (o *sendQueue) sent() (frames, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.frames, o.total
}

// waiting tells what is queued.
func (o *sendQueue) waiting() (items, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) - o.head, o.bytes
}
