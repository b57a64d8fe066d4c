package netconn

import "sync"

const (
	// One write carries about this much, so that a loop is soon back to the other connections.
	maxWriteItems = 256
	maxWriteBytes = 64 << 10
)

// A Buffer is the space that one write needs for a moment.
type Buffer struct {
	Items []Item
	Bytes []byte
}

func newBuffer() *Buffer {
	return &Buffer{
		Items: make([]Item, 0, maxWriteItems),
		Bytes: make([]byte, 0, maxWriteBytes+maxWriteBytes/4),
	}
}

var buffers = sync.Pool{New: func() any { return newBuffer() }}

// GetBuffer returns a buffer, which must be given back with Release.
func GetBuffer() *Buffer {
	b, _ := buffers.Get().(*Buffer)
	return b
}

// Release gives the buffer back.
func (b *Buffer) Release() { buffers.Put(b) }

// TakeFrom fills Items with what waits in the queue, as much as one write carries, and empties
// Bytes. It reports whether anything waited.
func (b *Buffer) TakeFrom(q *Queue) bool {
	clear(b.Items)
	b.Items = q.take(b.Items[:0], maxWriteItems, maxWriteBytes)
	b.Bytes = b.Bytes[:0]
	return len(b.Items) > 0
}
