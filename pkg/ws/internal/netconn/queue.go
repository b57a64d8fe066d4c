package netconn

import (
	"sync"
	"time"
)

// An Item is a frame in a send queue. Other clients may share the bytes of the frame.
type Item struct {
	Frame []byte // nil: a ping
	Event any    // the event in the frame, for the owner; nil: no event
}

// A Queue is the bounded send queue of one client. The engine adds items and never waits. The
// writers of the connection remove them. MaxItems and MaxBytes are the limits.
type Queue struct {
	MaxItems int
	MaxBytes int

	mu         sync.Mutex    // protects the fields below; no other mutex is locked while it is held
	items      []Item        // items[head:] are queued; nil when the queue is empty
	head       int           // index of the oldest item
	bytes      int           // total length of the queued frames
	sentFrames int           // frames that were removed to be written
	sentBytes  int           // bytes that were removed to be written
	sealed     bool          // no more items are accepted
	scheduled  bool          // the writer was woken and has not found the queue empty since
	room       chan struct{} // closed when half of the queue is free; nil: no goroutine waits
}

// chunkItems is the initial capacity of a queue. Most connections are idle most of the time, so the
// memory of an empty queue is reused for other queues.
const chunkItems = 32

var chunks = sync.Pool{New: func() any { return new([chunkItems]Item) }}

// Push adds an item. If first is true, the caller must wake the writer of the connection. ok is
// false when the queue is full: the client is too slow and must be disconnected. A sealed queue
// drops the item.
func (q *Queue) Push(it Item) (first, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()

	if q.sealed {
		return false, true
	}

	if len(q.items)-q.head >= q.MaxItems || q.bytes+len(it.Frame) > q.MaxBytes {
		return false, false
	}

	q.appendItem(it)
	first = !q.scheduled
	q.scheduled = true

	return first, true
}

// appendItem adds the item at the end. The caller holds mu.
func (q *Queue) appendItem(it Item) {
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

// popItems moves queued items to dst, at most limit items and about maxBytes. If there is none, the
// next Push returns first again.
func (q *Queue) popItems(dst []Item, limit, maxBytes int) []Item {
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
		if cap(q.items) == chunkItems { // a larger array is not from the pool
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

// Seal makes the queue drop all further items. If drop is true, the queued items are dropped too,
// and Seal returns their number.
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

// IsSealed reports whether Seal was called.
func (q *Queue) IsSealed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()

	return q.sealed
}

// hasRoom reports whether half of the queue is free. A sealed queue always has room. The caller
// holds mu.
func (q *Queue) hasRoom() bool {
	fewItems := len(q.items)-q.head <= q.MaxItems/2
	fewBytes := q.bytes <= q.MaxBytes/2

	return q.sealed || (fewItems && fewBytes)
}

// WaitForRoom waits until half of the queue is free, so that a long replay proceeds at the pace of
// the client. It returns early when done is closed. It returns false when the timeout elapsed.
func (q *Queue) WaitForRoom(done <-chan struct{}, timeout time.Duration) bool {
	room := q.roomSignal()
	if room == nil {
		return true
	}

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for room != nil {
		select {
		case <-room:
			room = q.roomSignal()
		case <-done:
			return true
		case <-timer.C:
			return false
		}
	}

	return true
}

// roomSignal returns a channel that is closed when half of the queue is free. It returns nil when
// that is already the case.
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

// Sent returns how many frames and bytes were removed from the queue to be written.
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
