package ws

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// conn is a client's WebSocket: the transport of its session. One goroutine, the reader, handles
// the client's frames.
type conn struct {
	session       *session
	authenticator Authenticator
	net           *netconn.Conn

	code   atomic.Int32           // how it ended; 0: it has not
	detail atomic.Pointer[string] // of the code, for the log
	closes atomic.Bool            // a goroutine of its own closes it with a handshake
	closed chan struct{}          // closed when that is done; made before closes is set

	// What follows belongs to the reader.
	frames    bucket
	badFrames int // malformed frames so far
}

// run reads until the connection ends. The identity is nil when the token is to come in the first
// frame.
func (c *conn) run(identity *Identity) {
	defer c.finish()
	if identity == nil {
		if err := c.net.SendResponse(); err != nil {
			c.WriteFailed(err)
			return
		}
	} else if !c.welcome(identity) {
		return
	}
	if err := c.net.ReadMessages(c.handleMessage); err != nil {
		c.noteReadError(err)
	}
}

// handleMessage handles the frames of one message. It is false when the connection ends.
func (c *conn) handleMessage(isText bool, message []byte) bool {
	if !isText {
		return c.refuseFrame(nil, protocol.Malformed("messages are text"))
	}
	open := true
	protocol.ForEachFrame(message, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
		open = c.handleFrame(&f, refused)
		return open
	})
	return open
}

// noteReadError ends the connection because the reader cannot go on.
func (c *conn) noteReadError(err error) {
	code, closedByClient := netconn.CloseStatus(err)
	switch {
	case errors.Is(err, netconn.ErrTooBig):
		c.session.hub.metrics.countLimit(limitMessageBytes)
		c.closeWith(protocol.CloseTooBig, "")
	case netconn.IsTimeout(err):
		c.session.hub.metrics.countLimit(limitMessageTime)
		c.closeWith(protocol.CloseAuthTimeout, protocol.MessageTimeout)
	case closedByClient:
		c.noteEnd(protocol.CloseCode(code), "closed by the client")
	default:
		c.noteEnd(protocol.CloseAbnormal, err.Error())
	}
}

// Wrote implements netconn.Owner.
func (c *conn) Wrote(items []netconn.Item) { c.session.noteWrite(items) }

// WriteFailed implements netconn.Owner.
func (c *conn) WriteFailed(err error) {
	if netconn.IsTimeout(err) {
		c.session.hub.metrics.countLimit(limitWriteTimeout)
		c.closeWith(protocol.CloseSlowConsumer, "write timed out")
		return
	}
	c.closeWith(protocol.CloseAbnormal, err.Error())
}

// AllowControl implements netconn.Owner. Pings and pongs count as frames, so that they are no way
// to keep the gateway busy.
func (c *conn) AllowControl() bool {
	if c.code.Load() != 0 {
		return false // closing, and perhaps not called by the reader, which owns the bucket
	}
	if c.takeFrame() {
		return true
	}
	c.closeWith(protocol.CloseRateLimited, "too many control frames")
	return false
}

// takeFrame counts a frame against the client's rate. It is false when there were too many.
func (c *conn) takeFrame() bool {
	cfg := &c.session.hub.cfg
	if c.frames.take(time.Now(), cfg.FrameRate, cfg.FrameBurst) {
		return true
	}
	c.session.hub.metrics.countLimit(limitFrameRate)
	return false
}

// noteEnd records how the connection ended, unless that is known already.
func (c *conn) noteEnd(code protocol.CloseCode, detail string) bool {
	if !c.code.CompareAndSwap(0, int32(code)) { //nolint:gosec // close codes are small
		return false
	}
	c.detail.Store(&detail)
	return true
}

// closeWith implements transport. The closing handshake has a goroutine of its own. CloseAbnormal
// cuts the connection without a handshake, even one that is being closed.
func (c *conn) closeWith(code protocol.CloseCode, detail string) {
	first := c.noteEnd(code, detail)
	if code == protocol.CloseAbnormal {
		c.net.Abort()
		return
	}
	if !first {
		return
	}
	c.session.sealQueue(code)
	c.closed = make(chan struct{})
	c.closes.Store(true)
	shakeHands := func() {
		defer close(c.closed)
		sendWaiting := code != protocol.CloseSlowConsumer
		c.net.Close(int(code), closeReason(code, detail), sendWaiting)
	}
	if !c.session.hub.tasks.start(shakeHands) {
		close(c.closed)
		c.net.CloseNow()
	}
}

// maxReason is what fits into a control frame beside the code, in bytes.
const maxReason = 123

// closeReason is the text of a close frame.
func closeReason(code protocol.CloseCode, detail string) string {
	switch {
	case code == protocol.CloseDisconnected && detail != "":
		return protocol.Truncate(code.Reason()+": "+detail, maxReason)
	case code == protocol.CloseAuthTimeout && detail == protocol.MessageTimeout:
		return protocol.MessageTimeout
	}
	return code.Reason()
}

// finish is the last thing that the reader does.
func (c *conn) finish() {
	s := c.session
	if p := recover(); p != nil {
		s.hub.cfg.Logger.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
		c.closeWith(protocol.CloseInternal, "panic")
	}
	s.end()
	c.noteEnd(protocol.CloseAbnormal, "")
	if c.closes.Load() {
		<-c.closed // the hub waits for this, too
	} else {
		c.net.CloseNow()
	}
	s.remove()
	detail := ""
	if d := c.detail.Load(); d != nil {
		detail = *d
	}
	s.logEnd(protocol.CloseCode(c.code.Load()), detail)
}

// wakeWriter implements transport.
func (c *conn) wakeWriter() { c.net.Wake() }

// flushQueue implements transport.
func (c *conn) flushQueue() { c.net.Flush() }

// wasHeard implements transport.
func (c *conn) wasHeard() bool { return c.net.WasActive() }

// kindName implements transport.
func (c *conn) kindName() string { return "websocket" }
