package ws

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// conn is a client's WebSocket: the transport of its session. One goroutine reads
// and handles the client's frames; write.go writes.
type conn struct {
	session       *session
	authenticator Authenticator
	ws            *websocket.Conn
	wire          *wire
	loop          *writeLoop
	deflate       *deflaters // nil: messages are not compressed

	code   atomic.Int32           // how it ended; 0: it has not
	detail atomic.Pointer[string] // of the code, for the log
	busy   atomic.Bool            // the reader handles a frame, so that it cannot hear the peer
	shakes atomic.Bool            // a goroutine of its own closes it with a handshake
	shaken chan struct{}          // closed when it has; made before shakes is set
	alone  atomic.Bool            // a goroutine of its own writes
	again  atomic.Bool            // which has to look once more

	// What follows belongs to the reader.
	frames bucket
	bad    int // malformed frames so far
}

// run reads until the connection ends. The identity is that of the handshake, if it
// had any.
func (c *conn) run(identity *Identity) {
	defer c.finish()
	switch {
	case identity == nil:
		if err := c.drain(new(writeBuffer), controlTimeout); err != nil { // the handshake's answer
			c.broken(err)
			return
		}
	case !c.welcome(identity):
		return
	}
	for {
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			c.ended(err)
			return
		}
		if !c.receive(typ, r) {
			return
		}
	}
}

// messages holds buffers for inbound messages; an idle connection has none.
var messages = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// receive reads and handles one message. It is false when the connection ends.
func (c *conn) receive(typ websocket.MessageType, r io.Reader) bool {
	buf, _ := messages.Get().(*[]byte)
	defer messages.Put(buf)
	c.readBy(time.Now().Add(c.session.hub.cfg.MessageTimeout))
	var err error
	*buf, err = readAll(r, (*buf)[:0], c.session.hub.cfg.MaxFrameBytes)
	c.readBy(time.Time{})
	if err != nil {
		c.ended(err)
		return false
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	if typ != websocket.MessageText {
		return c.refuse(nil, protocol.Malformed("messages are text"))
	}
	open := true
	protocol.EachFrame(*buf, func(f protocol.ClientFrame, refused *protocol.Refusal) bool {
		open = c.handle(&f, refused)
		return open
	})
	return open
}

// readBy bounds reads, unless the connection is being closed: then its own bound
// holds.
func (c *conn) readBy(t time.Time) {
	_ = c.wire.SetReadDeadline(t)
	if c.code.Load() != 0 {
		_ = c.wire.SetReadDeadline(time.Now().Add(controlTimeout))
	}
}

var errTooBig = errors.New("the message is too big")

// readAll is io.ReadAll into a buffer that is used again, up to most bytes.
func readAll(r io.Reader, b []byte, most int) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > most {
			return b, errTooBig
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// ended notes why the reader cannot go on.
func (c *conn) ended(err error) {
	var closed websocket.CloseError
	switch {
	case errors.Is(err, errTooBig):
		c.session.hub.metrics.limit(limitMessageBytes)
		c.closeWith(protocol.CloseTooBig, "")
	case isTimeout(err):
		c.session.hub.metrics.limit(limitMessageTime)
		c.closeWith(protocol.CloseAuthTimeout, protocol.MessageTimeout)
	case errors.As(err, &closed):
		c.note(protocol.CloseCode(closed.Code), "closed by the client")
	default:
		c.note(protocol.CloseAbnormal, err.Error())
	}
}

// broken ends a connection that cannot be written to.
func (c *conn) broken(err error) {
	if isTimeout(err) {
		c.session.hub.metrics.limit(limitWriteTimeout)
		c.closeWith(protocol.CloseSlowConsumer, "write timed out")
		return
	}
	c.closeWith(protocol.CloseAbnormal, err.Error())
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// note records how the connection ended, unless that is known already.
func (c *conn) note(code protocol.CloseCode, detail string) bool {
	if !c.code.CompareAndSwap(0, int32(code)) { //nolint:gosec // close codes are small
		return false
	}
	c.detail.Store(&detail)
	return true
}

// closeWith ends the connection with a code; the first one wins. It never waits: the
// closing handshake has a goroutine of its own. closeAbnormal cuts the connection
// without a handshake, even one that is being closed.
func (c *conn) closeWith(code protocol.CloseCode, detail string) {
	first := c.note(code, detail)
	if code == protocol.CloseAbnormal {
		_ = c.wire.Close()
		return
	}
	if !first {
		return
	}
	dropped := c.session.sendQueue.seal(code == protocol.CloseSlowConsumer)
	c.session.hub.metrics.drops.WithLabelValues(dropSlow).Add(float64(dropped))
	c.shaken = make(chan struct{})
	c.shakes.Store(true)
	if !c.session.hub.tasks.start(func() { c.close(code, detail) }) {
		close(c.shaken)
		_ = c.ws.CloseNow()
	}
}

// close sends what waits, unless it was dropped, and shakes hands.
func (c *conn) close(code protocol.CloseCode, detail string) {
	defer close(c.shaken)
	if code != protocol.CloseSlowConsumer {
		buf, _ := writeBuffers.Get().(*writeBuffer)
		_ = c.drain(buf, controlTimeout)
		writeBuffers.Put(buf)
	}
	reason := code.Reason()
	switch {
	case code == protocol.CloseDisconnected && detail != "":
		reason = protocol.Clip(reason+": "+detail, 123) // what fits into a control frame beside the code
	case code == protocol.CloseAuthTimeout && detail == protocol.MessageTimeout:
		reason = protocol.MessageTimeout
	}
	// The library reads on until the peer's close frame, and before that whatever is
	// left of a message: a terabyte, if the peer said so.
	c.readBy(time.Time{})
	_ = c.ws.Close(websocket.StatusCode(code), reason)
}

// alive is asked at each heartbeat.
func (c *conn) alive() bool { return c.wire.heard.Swap(false) || c.busy.Load() }

// finish is the last thing that the reader does.
func (c *conn) finish() {
	s := c.session
	if p := recover(); p != nil {
		s.hub.cfg.Logger.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
		c.closeWith(protocol.CloseInternal, "panic")
	}
	s.end()
	c.note(protocol.CloseAbnormal, "")
	if c.shakes.Load() {
		<-c.shaken // the hub waits for this, too
	} else {
		_ = c.ws.CloseNow()
	}
	s.remove()
	detail := ""
	if d := c.detail.Load(); d != nil {
		detail = *d
	}
	s.left(protocol.CloseCode(c.code.Load()), detail)
}

func (c *conn) name() string { return "websocket" }
