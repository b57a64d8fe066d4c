package netconn

import "sync"

// One write carries about this much, so that a loop soon continues with the next connection.
const (
	maxWriteItems = 256
	maxWriteBytes = 64 << 10
)

// A Buffer is the temporary memory of one write.
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

// GetBuffer returns a buffer from a pool. The caller must return it with Release.
func GetBuffer() *Buffer {
	b, _ := buffers.Get().(*Buffer)
	return b
}

// Release returns the buffer to the pool.
func (b *Buffer) Release() {
	buffers.Put(b)
}

// FillFrom moves queued items to Items, as many as one write carries, and empties Bytes. It reports
// whether there were any items.
func (b *Buffer) FillFrom(q *Queue) bool {
	clear(b.Items)
	b.Items = q.popItems(b.Items[:0], maxWriteItems, maxWriteBytes)
	b.Bytes = b.Bytes[:0]

	return len(b.Items) > 0
}
