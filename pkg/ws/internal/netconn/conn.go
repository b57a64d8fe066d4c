package netconn

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// An Owner is told what becomes of its connection.
type Owner interface {
	// Wrote is called after a write, with the items that left.
	Wrote(items []Item)
	// WriteFailed is called when the connection cannot be written to any more.
	WriteFailed(err error)
	// AllowControl is called for each ping and pong of the client, by the goroutine that reads or
	// closes. When it returns false, a ping is not answered.
	AllowControl() bool
}

// A Conn is a client's WebSocket. One goroutine reads from it.
type Conn struct {
	server      *Server
	owner       Owner
	queue       *Queue
	loop        *loop
	ws          *websocket.Conn
	compressors *compressors // nil: messages are not compressed

	busy    atomic.Bool // the reader handles a message, so it cannot hear the client
	closing atomic.Bool // the connection is being closed, so reads have the bound of that
	alone   atomic.Bool // a goroutine of the connection's own writes
	again   atomic.Bool // which has to look once more

	socket socket
}

// allowControl is the library's callback.
func (c *Conn) allowControl(context.Context, []byte) bool { return c.owner.AllowControl() }

// Heard reports whether the client sent anything since the last call, or is being served.
func (c *Conn) Heard() bool { return c.socket.heard.Swap(false) || c.busy.Load() }

// ErrTooBig ends the reading when a message has more than Config.MaxMessageBytes.
var ErrTooBig = errors.New("the message is too big")

// IsTimeout reports whether a read or a write took too long.
func IsTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// CloseStatus returns the code with which the client closed. ok is false when it did not close.
func CloseStatus(err error) (code int, ok bool) {
	var closed websocket.CloseError
	ok = errors.As(err, &closed)
	return int(closed.Code), ok
}

// messages holds buffers for inbound messages, so that an idle connection has none.
var messages = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// ReadMessages calls handle with each message until it returns false; then the error is nil. The
// message is good until handle returns. Other errors are ErrTooBig, an IsTimeout when a message
// that the client has begun is too slow, what CloseStatus knows, or another error of the
// connection.
func (c *Conn) ReadMessages(handle func(isText bool, message []byte) bool) error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		goOn, err := c.readMessage(kind, r, handle)
		if err != nil || !goOn {
			return err
		}
	}
}

func (c *Conn) readMessage(kind websocket.MessageType, r io.Reader, handle func(bool, []byte) bool) (goOn bool, err error) {
	message, _ := messages.Get().(*[]byte)
	defer messages.Put(message)
	c.readUntil(time.Now().Add(c.server.cfg.MessageTimeout))
	*message, err = readAll(r, (*message)[:0], c.server.cfg.MaxMessageBytes)
	c.readUntil(time.Time{})
	if err != nil {
		return false, err
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	return handle(kind == websocket.MessageText, *message), nil
}

// readUntil bounds reads, unless the connection is being closed: then reads have the bound of the
// closing handshake.
func (c *Conn) readUntil(deadline time.Time) {
	_ = c.socket.SetReadDeadline(deadline)
	if c.closing.Load() {
		_ = c.socket.SetReadDeadline(time.Now().Add(controlTimeout))
	}
}

// readAll is io.ReadAll into a buffer that is used again, up to limit bytes.
func readAll(r io.Reader, b []byte, limit int) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
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

// Close closes with the code and shakes hands, after what waits in the queue if sendWaiting is set.
// Each of these takes at most 5 s.
func (c *Conn) Close(code int, reason string, sendWaiting bool) {
	c.closing.Store(true)
	if sendWaiting {
		buf := GetBuffer()
		_ = c.writeRemaining(buf, controlTimeout)
		buf.Release()
	}
	// The library reads on until the client's close frame, and before it what is left of a message.
	// That may be a terabyte, if the client said so.
	c.readUntil(time.Time{})
	_ = c.ws.Close(websocket.StatusCode(code), reason)
}

// CloseNow frees the connection without a handshake.
func (c *Conn) CloseNow() { _ = c.ws.CloseNow() }

// Abort cuts the connection, even one that is being closed. Whoever reads or writes gets an error.
func (c *Conn) Abort() { _ = c.socket.Close() }
