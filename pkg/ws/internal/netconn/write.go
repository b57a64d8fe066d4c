package netconn

import "time"

// maxRounds is the maximum number of writes to one connection in a pass.
const maxRounds = 4

// Wake makes the connection's loop write the queued frames in its next pass. It never waits.
func (c *Conn) Wake() {
	c.loop.addToNextPass(c)
}

// Flush writes the queued frames. Only the goroutine that reads may call it. It never waits for the
// client.
func (c *Conn) Flush() {
	buf := GetBuffer()
	c.writeNow(buf)
	buf.Release()
}

// SendResponse writes the handshake response. It is for a connection whose first frame does not
// follow immediately.
func (c *Conn) SendResponse() error {
	return c.writeUntilEmpty(new(Buffer), controlTimeout)
}

// writeNow implements passWriter. It writes as many queued frames as the socket accepts at once,
// and leaves the rest to a goroutine of the connection.
func (c *Conn) writeNow(buf *Buffer) {
	if c.socket.raw == nil || !c.socket.mu.TryLock() {
		c.startWriter()
		return
	}
	defer c.socket.mu.Unlock()

	for range maxRounds {
		if !c.prepareWrite(buf) {
			return
		}

		done, err := c.socket.writeAvailable(buf.Bytes)
		if err != nil {
			c.owner.WriteFailed(err)
			return
		}
		if !done {
			c.server.cfg.HandedOver()
			c.startWriter()
			return
		}

		c.owner.Wrote(buf.Items)
	}

	c.Wake() // continue in the next pass, after the other connections
}

// startWriter starts a goroutine that writes and may wait for the client. At most one runs.
func (c *Conn) startWriter() {
	// This must come before the check of writerRunning: either the running goroutine sees it, or a
	// new one is started.
	c.writeAgain.Store(true)
	isFree := c.writerRunning.CompareAndSwap(false, true)
	if isFree && !c.server.cfg.Go(c.runWriter) {
		c.writerRunning.Store(false)
	}
}

// runWriter writes until the queue is empty.
func (c *Conn) runWriter() {
	buf := GetBuffer()
	defer buf.Release()
	for {
		c.writeAgain.Store(false)
		err := c.writeUntilEmpty(buf, c.server.cfg.WriteTimeout)
		c.writerRunning.Store(false)
		if err != nil {
			c.owner.WriteFailed(err)
			return
		}
		if !c.writeAgain.Load() || !c.writerRunning.CompareAndSwap(false, true) {
			return
		}
	}
}

// writeUntilEmpty writes until the queue is empty and nothing is unsent. It proceeds at the pace of
// the client. Each write takes at most timeout.
func (c *Conn) writeUntilEmpty(buf *Buffer, timeout time.Duration) error {
	for {
		c.socket.mu.Lock()
		if !c.prepareWrite(buf) && len(c.socket.unsent) == 0 {
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

// prepareWrite moves queued items to the buffer and encodes them as messages. It returns false when
// the queue is empty. The caller holds the mutex of the socket, so that frames are written in the
// order of the queue.
func (c *Conn) prepareWrite(buf *Buffer) bool {
	if !buf.FillFrom(c.queue) {
		return false
	}

	if !c.socket.closeSent {
		buf.Bytes = appendMessages(buf.Bytes, buf.Items, c.compressors)
	}

	return true
}
