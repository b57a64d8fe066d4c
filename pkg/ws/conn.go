package ws

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A conn is the WebSocket of a client and the transport of its session. One goroutine, the reader,
// handles the client's frames.
type conn struct {
	session       *session
	authenticator Authenticator
	net           *netconn.Conn

	code          atomic.Int32           // how the connection ended; 0: it is open
	reason        atomic.Pointer[string] // explains the code, for the log
	closerStarted atomic.Bool            // a goroutine closes the connection with a handshake
	closerDone    chan struct{}          // closed after the handshake; set before closerStarted

	// Only the reader uses the fields below.
	frameLimit frameBucket
	badFrames  int // number of malformed frames
}

// runReader reads until the connection ends. The identity is nil when the token is expected in the
// first frame.
func (c *conn) runReader(identity *Identity) {
	defer c.endConn()
	if identity == nil {
		err := c.net.SendResponse()
		if err != nil {
			c.WriteFailed(err)
			return
		}
	} else if !c.welcomeClient(identity) {
		return
	}

	err := c.net.ReadMessages(c.handleMessage)
	if err != nil {
		c.closeOnReadError(err)
	}
}

// handleMessage handles the frames of one message. It returns false when the connection ends.
func (c *conn) handleMessage(isText bool, message []byte) bool {
	if c.session.currentIdentity() == nil {
		rest, open := c.handleFirstFrame(isText, message)
		if !open || len(rest) == 0 {
			return open
		}

		message = rest
	}

	if !isText {
		return c.refuseFrame(nil, protocol.Malformed("a message must be text"))
	}

	open := true
	protocol.ForEachFrame(message, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
		open = c.handleFrame(&f, refused)
		return open
	})

	return open
}

// closeOnReadError ends the connection after the reader has failed.
func (c *conn) closeOnReadError(err error) {
	code, closedByClient := netconn.CloseStatus(err)
	var violation *netconn.ProtocolError
	switch {
	case errors.Is(err, netconn.ErrTooBig):
		c.session.hub.metrics.CountLimit(metrics.LimitMessageBytes)
		if c.session.currentIdentity() == nil {
			c.CloseWith(protocol.CloseUnauthorized, authFirst)
			return
		}

		c.CloseWith(protocol.CloseTooBig, "")
	case netconn.IsTimeout(err):
		c.session.hub.metrics.CountLimit(metrics.LimitMessageTime)
		c.CloseWith(protocol.CloseAuthTimeout, protocol.MessageTimeout)
	case errors.As(err, &violation):
		c.CloseWith(protocol.CloseProtocol, violation.Error())
	case closedByClient:
		c.setCloseCode(protocol.CloseCode(code), "closed by the client")
	default:
		c.setCloseCode(protocol.CloseAbnormal, err.Error())
	}
}

// Wrote implements netconn.Owner.
func (c *conn) Wrote(items []netconn.Item) {
	c.session.recordWrite(items)
}

// WriteFailed implements netconn.Owner.
func (c *conn) WriteFailed(err error) {
	if netconn.IsTimeout(err) {
		c.session.hub.metrics.CountLimit(metrics.LimitWriteTimeout)
		c.CloseWith(protocol.CloseSlowConsumer, "write timed out")
		return
	}

	c.CloseWith(protocol.CloseAbnormal, err.Error())
}

// AllowControl implements netconn.Owner. Pings and pongs count as frames, so that a flood of them
// does not keep the gateway busy.
func (c *conn) AllowControl() bool {
	if c.code.Load() != 0 {
		// The connection is closing. The caller may not be the reader, which owns frameLimit.
		return false
	}

	if c.admitFrame() {
		return true
	}

	c.CloseWith(protocol.CloseRateLimited, "too many control frames")
	return false
}

// admitFrame counts a frame. It returns false when the client exceeds its frame rate.
func (c *conn) admitFrame() bool {
	cfg := &c.session.hub.cfg
	if c.frameLimit.takeToken(time.Now(), cfg.FrameRate, cfg.FrameBurst) {
		return true
	}

	c.session.hub.metrics.CountLimit(metrics.LimitFrameRate)
	return false
}

// setCloseCode records how the connection ended. It returns false when that is already recorded.
func (c *conn) setCloseCode(code protocol.CloseCode, reason string) bool {
	if !c.code.CompareAndSwap(0, int32(code)) { //nolint:gosec // close codes are small
		return false
	}

	c.reason.Store(&reason)
	return true
}

// CloseWith implements transport. A goroutine makes the closing handshake. CloseAbnormal closes the
// network connection without a handshake, even while another close is running.
func (c *conn) CloseWith(code protocol.CloseCode, reason string) {
	isFirst := c.setCloseCode(code, reason)
	if code == protocol.CloseAbnormal {
		c.net.Abort()
		return
	}

	if !isFirst {
		return
	}

	c.session.sealQueue(code)
	c.closerDone = make(chan struct{})
	c.closerStarted.Store(true)
	started := c.session.hub.tasks.startTask(func() {
		defer close(c.closerDone)
		sendQueued := code != protocol.CloseSlowConsumer
		c.net.Close(int(code), closeFrameText(code, reason), sendQueued)
	})

	if !started {
		close(c.closerDone)
		c.net.CloseNow()
	}
}

// maxCloseText is the maximum length of the text in a close frame, in bytes.
const maxCloseText = 123

// closeFrameText returns the text of a close frame.
func closeFrameText(code protocol.CloseCode, reason string) string {
	switch {
	case code == protocol.CloseDisconnected && reason != "":
		return protocol.Truncate(code.Reason()+": "+reason, maxCloseText)
	case code == protocol.CloseAuthTimeout && reason == protocol.MessageTimeout:
		return protocol.MessageTimeout
	case code == protocol.CloseProtocol:
		// The library names the violation in the close frames that it sends by itself.
		return protocol.Truncate(reason, maxCloseText)
	}

	return code.Reason()
}

// endConn ends the session and releases the connection. The reader calls it when it ends.
func (c *conn) endConn() {
	s := c.session
	if p := recover(); p != nil {
		stack := string(debug.Stack())
		s.hub.cfg.Logger.Error("connection panicked", "panic", p, "stack", stack)
		c.CloseWith(protocol.CloseInternal, "panic")
	}

	s.endSession()
	c.setCloseCode(protocol.CloseAbnormal, "")
	if c.closerStarted.Load() {
		<-c.closerDone // the hub must not stop before the handshake is done
	} else {
		c.net.CloseNow()
	}

	s.removeFromHub()
	reason := ""
	r := c.reason.Load()
	if r != nil {
		reason = *r
	}

	s.reportEnd(protocol.CloseCode(c.code.Load()), reason)
}

// WakeWriter implements transport.
func (c *conn) WakeWriter() { c.net.Wake() }

// FlushQueue implements transport.
func (c *conn) FlushQueue() { c.net.Flush() }

// wasActive implements transport.
func (c *conn) wasActive() bool { return c.net.WasActive() }

// kindName implements transport.
func (c *conn) kindName() string { return "websocket" }
