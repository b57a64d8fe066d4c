package ws

import (
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// closingTimeout bounds the writes of a stream that is being closed.
const closingTimeout = 5 * time.Second

// stream is a client of server-sent events: the transport of its session. The goroutine of its
// request writes.
type stream struct {
	session *session
	w       http.ResponseWriter
	control *http.ResponseController
	woken   chan struct{} // holds one
	over    chan struct{} // closed by the first closeWith

	mu      sync.Mutex         // protects what follows
	code    protocol.CloseCode // how it ended; 0: it has not
	detail  string             // of the code, for the log
	hurried bool               // the write under way has a deadline that must not be put off
	gone    bool               // the request has ended, and w is no longer ours

	// What follows belongs to the request's goroutine.
	begun    bool // the answer has begun
	format   protocol.EventStream
	deadline time.Time // of the newest write
}

func newStream(s *session, w http.ResponseWriter) *stream {
	return &stream{
		session: s,
		w:       w,
		control: http.NewResponseController(w),
		woken:   make(chan struct{}, 1),
		over:    make(chan struct{}),
	}
}

// kindName implements transport.
func (st *stream) kindName() string { return "sse" }

// wasHeard implements transport. Such a client says nothing.
func (st *stream) wasHeard() bool { return true }

// wakeWriter implements transport.
func (st *stream) wakeWriter() {
	select {
	case st.woken <- struct{}{}:
	default:
	}
}

// closeWith implements transport. A client that is too slow, or is cut off, is not waited for.
func (st *stream) closeWith(code protocol.CloseCode, detail string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	first := st.code == 0
	if first {
		st.code = code
		st.detail = detail
		st.session.sealQueue(code)
		close(st.over)
	}
	switch {
	case st.gone:
	case code == protocol.CloseAbnormal:
		st.limitWrites(0)
	case first:
		st.limitWrites(closingTimeout)
	}
}

// limitWrites bounds the write under way, and all that follow. The caller holds mu.
func (st *stream) limitWrites(d time.Duration) {
	st.hurried = true
	_ = st.control.SetWriteDeadline(time.Now().Add(d)) // only a test's writer has no deadlines
}

// run writes until the client goes or the stream is closed.
func (st *stream) run(ctx context.Context) {
	for {
		select {
		case <-st.woken:
			st.flushQueue()
		case <-ctx.Done():
			st.closeWith(protocol.CloseAbnormal, "closed by the client")
			return
		case <-st.over:
			st.flushQueue()
			st.writeClosed()
			return
		}
	}
}

// flushQueue implements transport. It writes everything that waits, as slowly as the client reads.
func (st *stream) flushQueue() {
	buf := netconn.GetBuffer()
	defer buf.Release()
	for buf.FillFrom(&st.session.queue) {
		for _, it := range buf.Items {
			buf.Bytes = st.appendItem(buf.Bytes, it)
		}
		if err := st.write(buf.Bytes); err != nil {
			st.writeFailed(err)
			return
		}
		st.session.noteWrite(buf.Items)
	}
}

// appendItem makes an item an event of the stream.
func (st *stream) appendItem(dst []byte, it netconn.Item) []byte {
	if it.Frame == nil {
		return st.format.AppendHeartbeat(dst)
	}
	if e, ok := it.Event.(*event); ok {
		return st.format.AppendEvent(dst, e.Account, e.Seq, it.Frame)
	}
	return st.format.AppendFrame(dst, it.Frame)
}

// writeFailed ends a stream that cannot be written to.
func (st *stream) writeFailed(err error) {
	// Over HTTP/2 the error of a write that took too long only says that the stream is closed.
	late := netconn.IsTimeout(err) || !time.Now().Before(st.deadline)
	if late {
		st.session.hub.metrics.countLimit(limitWriteTimeout)
		st.closeWith(protocol.CloseSlowConsumer, "write timed out")
		return
	}
	st.closeWith(protocol.CloseAbnormal, err.Error())
}

// begin starts the answer.
func (st *stream) begin() {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx passes on at once
	st.w.WriteHeader(http.StatusOK)
	st.begun = true
}

func (st *stream) write(p []byte) error {
	if !st.begun {
		st.begin()
	}
	st.deadline = time.Now().Add(st.session.hub.cfg.WriteTimeout)
	st.setWriteDeadline(st.deadline)
	if _, err := st.w.Write(p); err != nil {
		return err
	}
	if err := st.control.Flush(); err != nil {
		return err
	}
	if !time.Now().Before(st.deadline) {
		return os.ErrDeadlineExceeded // HTTP/2 ends the stream some time soon
	}
	// HTTP/2 would end the stream at the deadline though nothing is being written then.
	st.setWriteDeadline(time.Time{})
	return nil
}

// setWriteDeadline sets the deadline, unless limitWrites has set one.
func (st *stream) setWriteDeadline(deadline time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.hurried {
		_ = st.control.SetWriteDeadline(deadline) // only a test's writer has no deadlines
	}
}

// writeClosed says how the stream ended, since it has no close code.
func (st *stream) writeClosed() {
	st.mu.Lock()
	code := st.code
	st.mu.Unlock()
	if code == protocol.CloseAbnormal {
		return
	}
	_ = st.write(st.format.AppendClosed(nil, code)) // the last write: nobody is left to tell
}

// leave is the last thing that the request does with w.
func (st *stream) leave() (protocol.CloseCode, string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	return st.code, st.detail
}
