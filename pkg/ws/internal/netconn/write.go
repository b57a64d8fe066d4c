package netconn

import "time"

// maxRounds bounds how long one connection keeps a loop.
const maxRounds = 4

// Wake has the connection's loop write what waits in the queue, in its next pass. It never waits.
func (c *Conn) Wake() { c.loop.add(c) }

// Flush writes what waits in the queue. It is for the goroutine that reads, and never waits for the
// client.
func (c *Conn) Flush() {
	buf := GetBuffer()
	c.writeNow(buf)
	buf.Release()
}

// SendAnswer sends the handshake's answer when no frame follows it yet.
func (c *Conn) SendAnswer() error { return c.writeRemaining(new(Buffer), controlTimeout) }

// writeNow implements passWriter. It writes what waits as far as the socket takes it, and leaves
// the rest to a goroutine of the connection's own.
func (c *Conn) writeNow(buf *Buffer) {
	if c.socket.raw == nil || !c.socket.mu.TryLock() {
		c.writeAlone()
		return
	}
	defer c.socket.mu.Unlock()
	for range maxRounds {
		if !c.prepareWrite(buf) {
			return
		}
		done, err := c.socket.writeSome(buf.Bytes)
		if err != nil {
			c.owner.WriteFailed(err)
			return
		}
		if !done {
			c.server.cfg.HandedOver()
			c.writeAlone()
			return
		}
		c.owner.Wrote(buf.Items)
	}
	c.Wake() // the other connections first
}

// writeAlone starts the connection's own writer, which may wait for the client. At most one runs.
func (c *Conn) writeAlone() {
	c.again.Store(true) // before the look at alone: either the writer runs on, or we start it
	if c.alone.CompareAndSwap(false, true) && !c.server.cfg.Go(c.writeWaiting) {
		c.alone.Store(false)
	}
}

// writeWaiting writes until nothing waits any more.
func (c *Conn) writeWaiting() {
	buf := GetBuffer()
	defer buf.Release()
	for {
		c.again.Store(false)
		err := c.writeRemaining(buf, c.server.cfg.WriteTimeout)
		c.alone.Store(false)
		if err != nil {
			c.owner.WriteFailed(err)
			return
		}
		if !c.again.Load() || !c.alone.CompareAndSwap(false, true) {
			return
		}
	}
}

// writeRemaining writes until nothing waits, as slowly as the client reads, but no longer than
// timeout for one write.
func (c *Conn) writeRemaining(buf *Buffer, timeout time.Duration) error {
	for {
		c.socket.mu.Lock()
		if !c.prepareWrite(buf) && len(c.socket.rest) == 0 {
			c.socket.mu.Unlock()
			return nil
		}
		err := c.socket.writeAll(buf.Bytes, timeout)
		c.socket.mu.Unlock()
		if err != nil {
			return err
		}
		c.owner.Wrote(buf.Items)
	}
}

// prepareWrite takes what waits out of the queue and makes messages of it. It is false when nothing
// waits. The caller holds the socket's mu, so that the order of the queue is the order on the wire.
func (c *Conn) prepareWrite(buf *Buffer) bool {
	if !buf.TakeFrom(c.queue) {
		return false
	}
	if !c.socket.ending {
		buf.Bytes = appendMessages(buf.Bytes, buf.Items, c.compressors)
	}
	return true
}
