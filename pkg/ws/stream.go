package ws

import (
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// closeWriteTimeout is the maximum time of the writes after a stream was closed.
const closeWriteTimeout = 5 * time.Second

// A stream is a client of server-sent events and the transport of its session. The goroutine of the
// request writes.
type stream struct {
	session *session
	w       http.ResponseWriter
	control *http.ResponseController
	wake    chan struct{} // has a capacity of one
	closing chan struct{} // closed by the first CloseWith

	mu            sync.Mutex         // protects the fields below
	code          protocol.CloseCode // how the stream ended; 0: it is open
	reason        string             // explains the code, for the log
	finalDeadline bool               // the write deadline is set and must not be extended
	released      bool               // the request has ended and w must not be used

	// Only the goroutine of the request uses the fields below.
	responseStarted bool
	format          protocol.EventStream
	deadline        time.Time // of the latest write
}

func newStream(s *session, w http.ResponseWriter) *stream {
	return &stream{
		session: s,
		w:       w,
		control: http.NewResponseController(w),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
}

// kindName implements transport.
func (st *stream) kindName() string { return "sse" }

// wasActive implements transport. A client of server-sent events never sends anything.
func (st *stream) wasActive() bool { return true }

// WakeWriter implements transport.
func (st *stream) WakeWriter() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// CloseWith implements transport. CloseAbnormal also interrupts a write in progress.
func (st *stream) CloseWith(code protocol.CloseCode, reason string) {
	st.mu.Lock()
	defer st.mu.Unlock()

	isFirst := st.code == 0
	if isFirst {
		st.code = code
		st.reason = reason
		st.session.sealQueue(code)
		close(st.closing)
	}

	switch {
	case st.released:
	case code == protocol.CloseAbnormal:
		st.setFinalDeadline(0)
	case isFirst:
		st.setFinalDeadline(closeWriteTimeout)
	}
}

// setFinalDeadline sets the deadline of the write in progress and of all later writes. The caller
// holds mu.
func (st *stream) setFinalDeadline(timeout time.Duration) {
	st.finalDeadline = true
	deadline := time.Now().Add(timeout)
	_ = st.control.SetWriteDeadline(deadline) // only writers in tests do not support deadlines
}

// writeUntilClosed writes until the client disconnects or the stream is closed.
func (st *stream) writeUntilClosed(ctx context.Context) {
	for {
		select {
		case <-st.wake:
			st.FlushQueue()
		case <-ctx.Done():
			st.CloseWith(protocol.CloseAbnormal, "closed by the client")
			return
		case <-st.closing:
			st.FlushQueue()
			st.writeClosedFrame()
			return
		}
	}
}

// FlushQueue implements transport. It writes all queued frames and waits for the client.
func (st *stream) FlushQueue() {
	buf := netconn.GetBuffer()
	defer buf.Release()
	for buf.FillFrom(&st.session.Queue) {
		for _, it := range buf.Items {
			buf.Bytes = st.appendItem(buf.Bytes, it)
		}

		err := st.writeBytes(buf.Bytes)
		if err != nil {
			st.closeOnWriteError(err)
			return
		}

		st.session.recordWrite(buf.Items)
	}
}

// appendItem appends an item as a server-sent event.
func (st *stream) appendItem(dst []byte, it netconn.Item) []byte {
	if it.Frame == nil {
		return st.format.AppendHeartbeat(dst)
	}

	e, isEvent := it.Event.(*recent.Event)
	if isEvent {
		return st.format.AppendEvent(dst, e.Account, e.Seq, e.Chain, it.Frame)
	}

	return st.format.AppendFrame(dst, it.Frame)
}

// closeOnWriteError ends the stream after a write has failed.
func (st *stream) closeOnWriteError(err error) {
	// Over HTTP/2, the error of a write that timed out only says that the stream is closed.
	timedOut := netconn.IsTimeout(err) || !time.Now().Before(st.deadline)
	if timedOut {
		st.session.hub.metrics.CountLimit(metrics.LimitWriteTimeout)
		st.CloseWith(protocol.CloseSlowConsumer, "write timed out")
		return
	}

	st.CloseWith(protocol.CloseAbnormal, err.Error())
}

// startResponse writes the response header.
func (st *stream) startResponse() {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx must not buffer the stream
	st.w.WriteHeader(http.StatusOK)
	st.responseStarted = true
}

// writeBytes writes p to the client.
func (st *stream) writeBytes(p []byte) error {
	if !st.responseStarted {
		st.startResponse()
	}

	st.deadline = time.Now().Add(st.session.hub.cfg.WriteTimeout)
	st.setWriteDeadline(st.deadline)
	_, err := st.w.Write(p)
	if err != nil {
		return err
	}

	err = st.control.Flush()
	if err != nil {
		return err
	}

	if !time.Now().Before(st.deadline) {
		return os.ErrDeadlineExceeded // HTTP/2 reports it only later
	}

	// HTTP/2 ends the stream at the deadline even when no write is in progress.
	st.setWriteDeadline(time.Time{})

	return nil
}

// setWriteDeadline sets the write deadline, unless setFinalDeadline has set it.
func (st *stream) setWriteDeadline(deadline time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()

	if !st.finalDeadline {
		_ = st.control.SetWriteDeadline(deadline) // only writers in tests do not support deadlines
	}
}

// writeClosedFrame writes the last frame, which carries the close code.
func (st *stream) writeClosedFrame() {
	st.mu.Lock()
	code := st.code
	st.mu.Unlock()
	if code == protocol.CloseAbnormal {
		return
	}

	_ = st.writeBytes(st.format.AppendClosed(nil, code)) // the stream ends in any case
}

// releaseWriter stops the use of w when the request ends. It returns how the stream ended.
func (st *stream) releaseWriter() (code protocol.CloseCode, reason string) {
	st.mu.Lock()
	defer st.mu.Unlock()

	st.released = true
	return st.code, st.reason
}
