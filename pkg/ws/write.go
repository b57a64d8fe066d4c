package ws

import (
	"encoding/binary"
	"sync"
	"time"
)

const (
	// maxJoined is how many frames share a message. Joining saves clients and us
	// work for each message; beyond this it buys nothing more.
	maxJoined = 16
	// One write carries about this much, so that a loop is soon back to the others.
	maxWriteItems = 256
	maxWriteBytes = 64 << 10
	// maxRounds bounds how long one connection keeps a loop.
	maxRounds = 4
)

// writeBuffer is the space that one writer needs for a moment.
type writeBuffer struct {
	items []item
	bytes []byte
}

func newWriteBuffer() *writeBuffer {
	return &writeBuffer{items: make([]item, 0, maxWriteItems), bytes: make([]byte, 0, maxWriteBytes+maxWriteBytes/4)}
}

var writeBuffers = sync.Pool{New: func() any { return newWriteBuffer() }}

// wake has the loop of the connection write to it in its next pass.
func (c *conn) wake() { c.loop.add(c) }

// flush is for the connection's own goroutine.
func (c *conn) flush() {
	buf, _ := writeBuffers.Get().(*writeBuffer)
	c.writeNow(buf)
	writeBuffers.Put(buf)
}

// writeNow writes what waits as far as the socket takes it, and leaves the rest to
// a goroutine of the connection's own.
func (c *conn) writeNow(buf *writeBuffer) {
	if c.wire.raw == nil || !c.wire.mu.TryLock() {
		c.writeAlone()
		return
	}
	defer c.wire.mu.Unlock()
	for round := 0; ; round++ {
		if round == maxRounds {
			c.wake() // the others first
			return
		}
		if !c.gather(buf) {
			return
		}
		done, err := c.wire.writeSome(buf.bytes)
		if err != nil {
			c.broken(err)
			return
		}
		if !done {
			c.session.hub.metrics.handedOver.Inc()
			c.writeAlone()
			return
		}
		c.session.hub.metrics.written(buf.items, c.session.fresh.Load())
	}
}

// writeAlone starts the connection's own writer, which may wait for the client. At
// most one runs for a connection.
func (c *conn) writeAlone() {
	c.again.Store(true) // before the look at alone: either it runs on, or we start it
	if c.alone.CompareAndSwap(false, true) && !c.session.hub.tasks.start(c.writeWaiting) {
		c.alone.Store(false)
	}
}

func (c *conn) writeWaiting() {
	buf, _ := writeBuffers.Get().(*writeBuffer)
	defer writeBuffers.Put(buf)
	for {
		c.again.Store(false)
		err := c.drain(buf, c.session.hub.cfg.WriteTimeout)
		c.alone.Store(false)
		if err != nil {
			c.broken(err)
			return
		}
		if !c.again.Load() || !c.alone.CompareAndSwap(false, true) {
			return
		}
	}
}

// drain writes until nothing waits, as slowly as the client reads, but no longer
// than timeout for one write.
func (c *conn) drain(buf *writeBuffer, timeout time.Duration) error {
	for {
		c.wire.mu.Lock()
		if !c.gather(buf) && len(c.wire.rest) == 0 {
			c.wire.mu.Unlock()
			return nil
		}
		err := c.wire.writeAll(buf.bytes, timeout)
		c.wire.mu.Unlock()
		if err != nil {
			return err
		}
		c.session.hub.metrics.written(buf.items, c.session.fresh.Load())
	}
}

// gather takes what waits out of the send queue and makes messages of it. It is false
// when nothing waits. The caller holds wire.mu, so that the order of the queue is
// the order on the wire.
func (c *conn) gather(buf *writeBuffer) bool {
	clear(buf.items)
	buf.items = c.session.sendQueue.take(buf.items[:0], maxWriteItems, maxWriteBytes)
	buf.bytes = buf.bytes[:0]
	if len(buf.items) == 0 {
		return false
	}
	if !c.wire.ending {
		buf.bytes = appendMessages(buf.bytes, buf.items, c.deflate)
	}
	return true
}

// WebSocket frame headers of a server: final, unmasked (RFC 6455 section 5.2).
const (
	textFrame = 0x81
	pingFrame = 0x89
)

// appendMessages makes text messages of up to maxJoined frames each, joined by
// newlines, and pings. Without deflaters nothing is compressed.
func appendMessages(dst []byte, items []item, d *deflaters) []byte {
	for len(items) > 0 {
		if items[0].frame == nil {
			dst = append(dst, pingFrame, 0)
			items = items[1:]
			continue
		}
		n, size := 0, -1
		for n < len(items) && n < maxJoined && items[n].frame != nil {
			size += 1 + len(items[n].frame)
			n++
		}
		start := len(dst)
		dst = appendHeader(dst, textFrame, size)
		for i := range n {
			if i > 0 {
				dst = append(dst, '\n')
			}
			dst = append(dst, items[i].frame...)
		}
		if d != nil {
			dst = d.compress(dst, start, size)
		}
		items = items[n:]
	}
	return dst
}

func appendHeader(dst []byte, first byte, size int) []byte {
	switch {
	case size < 126:
		return append(dst, first, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(size)) //nolint:gosec // just checked
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(size)) //nolint:gosec // sizes are positive
}
