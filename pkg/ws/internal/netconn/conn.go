package netconn

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// An Owner is notified about its connection.
type Owner interface {
	// Wrote is called after a write, with the items that were written.
	Wrote(items []Item)
	// WriteFailed is called when the connection can no longer be written to.
	WriteFailed(err error)
	// AllowControl is called for each ping and pong of the client, by the goroutine that reads or
	// closes the connection. If it returns false, a ping is not answered.
	AllowControl() bool
}

// A Conn is the WebSocket connection of a client. One goroutine reads from it.
type Conn struct {
	server      *Server
	owner       Owner
	queue       *Queue
	loop        *loop
	ws          *websocket.Conn
	compressors *compressors // nil: messages are not compressed

	handling      atomic.Bool // the reader handles a message and cannot receive
	closing       atomic.Bool // the connection is being closed: reads have controlTimeout
	writerRunning atomic.Bool // a goroutine of the connection writes
	writeAgain    atomic.Bool // the goroutine must look at the queue again

	socket socket
}

// allowControl is the library's callback for pings and pongs.
func (c *Conn) allowControl(context.Context, []byte) bool {
	return c.owner.AllowControl()
}

// WasActive reports whether the client sent anything since the last call, or the reader is handling
// a message.
func (c *Conn) WasActive() bool {
	received := c.socket.received.Swap(false)
	return received || c.handling.Load()
}

// ErrTooBig is returned by ReadMessages when a message has more than Config.MaxMessageBytes.
var ErrTooBig = errors.New("the message is too big")

// A ProtocolError is returned by ReadMessages when a frame of the client violates RFC 6455.
type ProtocolError struct {
	cause error // of the library
}

// Error implements error. It names the violation.
func (e *ProtocolError) Error() string {
	innermost := e.cause
	for {
		cause := errors.Unwrap(innermost)
		if cause == nil {
			return innermost.Error()
		}

		innermost = cause
	}
}

// IsTimeout reports whether a read or a write exceeded its deadline.
func IsTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// CloseStatus returns the code of the client's close frame. ok is false when the error is not a
// close by the client.
func CloseStatus(err error) (code int, ok bool) {
	var closed websocket.CloseError
	ok = errors.As(err, &closed)

	return int(closed.Code), ok
}

// Close sends a close frame with the code and waits for the client's close frame. If sendQueued is
// set, the queued frames are sent first. Each step takes at most 5 s.
func (c *Conn) Close(code int, reason string, sendQueued bool) {
	c.closing.Store(true)
	if sendQueued {
		buf := GetBuffer()
		_ = c.writeUntilEmpty(buf, controlTimeout)
		buf.Release()
	}

	// The library reads the rest of an open message before the client's close frame. A client can
	// announce a terabyte, so the read needs a deadline.
	c.setReadDeadline(time.Time{})
	_ = c.ws.Close(websocket.StatusCode(code), reason)
}

// CloseNow releases the connection without a closing handshake.
func (c *Conn) CloseNow() {
	_ = c.ws.CloseNow()
}

// Abort closes the network connection, even while Close is running. Reads and writes in progress
// return an error.
func (c *Conn) Abort() {
	_ = c.socket.Close()
}
