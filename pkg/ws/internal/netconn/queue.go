package netconn

import (
	"sync"
	"time"
)

// An Item is a frame on its way to a client. The frame's bytes may be shared with other clients.
type Item struct {
	Frame []byte // nil: a ping
	Event any    // what the frame shows, for its owner; nil: no event
}

// A Queue is the bounded send queue between an engine, which never waits, and one client's
// connection. MaxItems and MaxBytes are its limits.
type Queue struct {
	MaxItems int
	MaxBytes int

	mu         sync.Mutex // protects what follows; no other mutex is locked inside it
	items      []Item     // nil when none waits
	head       int        // items[head:] wait
	bytes      int        // of the frames that wait
	sentFrames int
	sentBytes  int
	sealed     bool          // nothing more goes in
	scheduled  bool          // the writer was told, and has not found the queue empty since
	room       chan struct{} // closed when there is room again; nil: nobody waits for it
}

// chunkItems is the capacity that queues begin with. Most connections are idle most of the time, so
// the memory of an empty queue goes to others.
const chunkItems = 32

var chunks = sync.Pool{New: func() any { return new([chunkItems]Item) }}

// Push queues an item. first says that the caller must wake the connection's writer. ok is false
// when the queue is full: the client is too slow and has to go. A sealed queue drops the item.
func (q *Queue) Push(it Item) (first, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return false, true
	}
	if len(q.items)-q.head >= q.MaxItems || q.bytes+len(it.Frame) > q.MaxBytes {
		return false, false
	}
	q.append(it)
	first = !q.scheduled
	q.scheduled = true
	return first, true
}

// append puts the item behind the others. The caller holds mu.
func (q *Queue) append(it Item) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items = q.items[:n]
		q.head = 0
	}
	if q.items == nil {
		chunk, _ := chunks.Get().(*[chunkItems]Item)
		q.items = chunk[:0]
	}
	q.items = append(q.items, it)
	q.bytes += len(it.Frame)
}

// take moves waiting items to dst, at most limit and about maxBytes. When none waits, the next Push
// says first again.
func (q *Queue) take(dst []Item, limit, maxBytes int) []Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := 0
	for q.head < len(q.items) && len(dst) < limit && bytes < maxBytes {
		it := q.items[q.head]
		q.items[q.head] = Item{}
		q.head++
		bytes += len(it.Frame)
		dst = append(dst, it)
	}
	q.bytes -= bytes
	q.sentFrames += len(dst)
	q.sentBytes += bytes
	if q.head == len(q.items) && q.items != nil {
		if cap(q.items) == chunkItems { // a larger one came from append
			chunks.Put((*[chunkItems]Item)(q.items[:chunkItems]))
		}
		q.items = nil
		q.head = 0
	}
	if len(dst) == 0 {
		q.scheduled = false
	}
	if q.room != nil && q.hasRoom() {
		close(q.room)
		q.room = nil
	}
	return dst
}

// Seal lets nothing more in. With drop, the waiting items are thrown away too; their number is
// returned.
func (q *Queue) Seal(drop bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	dropped := 0
	if drop {
		dropped = len(q.items) - q.head
		q.items = nil
		q.head = 0
		q.bytes = 0
	}
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return dropped
}

// IsSealed reports whether the queue was sealed.
func (q *Queue) IsSealed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sealed
}

// hasRoom reports whether half of the queue is free. The caller holds mu.
func (q *Queue) hasRoom() bool {
	few := len(q.items)-q.head <= q.MaxItems/2
	return q.sealed || (few && q.bytes <= q.MaxBytes/2)
}

// WaitForRoom waits until half of the queue is free, so that a long replay goes at the client's
// pace. It is false when that took longer than timeout.
func (q *Queue) WaitForRoom(done <-chan struct{}, timeout time.Duration) bool {
	room := q.roomSignal()
	if room == nil {
		return true
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for room != nil {
		select {
		case <-room:
			room = q.roomSignal()
		case <-done:
			return true
		case <-deadline.C:
			return false
		}
	}
	return true
}

// roomSignal is closed when there is room again. It is nil when there is room.
func (q *Queue) roomSignal() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hasRoom() {
		return nil
	}
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room
}

// Sent returns how many frames and bytes were taken out to be written.
func (q *Queue) Sent() (frames, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sentFrames, q.sentBytes
}

// Waiting returns how many frames and bytes are queued.
func (q *Queue) Waiting() (frames, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.head, q.bytes
}
