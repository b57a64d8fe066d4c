package netconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// messages is a pool of buffers for inbound messages, so that an idle connection has none.
var messages = sync.Pool{
	New: func() any {
		b := make([]byte, 0, 1024)
		return &b
	},
}

// ReadMessages calls handle with each message until handle returns false, and then returns nil. The
// message is valid until handle returns.
//
// The error is ErrTooBig for a message that is too long, an IsTimeout error for a message that the
// client does not complete in time, an error that CloseStatus recognizes when the client closed, a
// *ProtocolError for a frame that violates the WebSocket protocol, or another error of the
// connection.
func (c *Conn) ReadMessages(handle func(isText bool, message []byte) bool) error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return c.explainReadError(err)
		}

		open, err := c.readMessage(kind, r, handle)
		if err != nil {
			return c.explainReadError(err)
		}
		if !open {
			return nil
		}
	}
}

// explainReadError returns a *ProtocolError if the library refused a frame of the client. The
// library has no type for these errors, and it sends a close frame for some of them only. They are
// the errors that are left when the socket works and neither side has closed the connection.
func (c *Conn) explainReadError(err error) error {
	_, closedByClient := CloseStatus(err)
	switch {
	case closedByClient, errors.Is(err, ErrTooBig):
		return err
	case c.socket.failed.Load(), c.closing.Load(), errors.Is(err, net.ErrClosed):
		return err
	}

	return &ProtocolError{cause: err}
}

// readMessage reads one message and calls handle. It returns the result of handle.
func (c *Conn) readMessage(
	kind websocket.MessageType, r io.Reader, handle func(bool, []byte) bool,
) (open bool, err error) {
	message, _ := messages.Get().(*[]byte)
	defer messages.Put(message)

	c.setReadDeadline(time.Now().Add(c.server.cfg.MessageTimeout))
	*message, err = readAll(r, (*message)[:0], c.server.cfg.MaxMessageBytes)
	c.setReadDeadline(time.Time{})
	if err != nil {
		return false, err
	}

	c.handling.Store(true)
	defer c.handling.Store(false)

	return handle(kind == websocket.MessageText, *message), nil
}

// setReadDeadline sets the deadline of reads. While the connection is being closed, reads have the
// deadline of the closing handshake instead.
func (c *Conn) setReadDeadline(deadline time.Time) {
	_ = c.socket.SetReadDeadline(deadline)
	if c.closing.Load() {
		_ = c.socket.SetReadDeadline(time.Now().Add(controlTimeout))
	}
}

// readAll is like io.ReadAll, but it reuses the buffer b and reads at most limit bytes.
func readAll(r io.Reader, b []byte, limit int) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)] // grow
		}

		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > limit {
			return b, ErrTooBig
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
