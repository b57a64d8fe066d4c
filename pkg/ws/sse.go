package ws

import (
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// stream is a client of server-sent events: the transport of its session. The
// goroutine of its request writes.
type stream struct {
	session *session
	w       http.ResponseWriter
	control *http.ResponseController
	woken   chan struct{} // holds one
	over    chan struct{} // closed by the first closeWith

	mu      sync.Mutex         // protects what follows
	code    protocol.CloseCode // how it ended; 0: it has not
	detail  string
	hurried bool // the write under way has a deadline that must not be put off
	gone    bool // the request has ended: w is not ours any more

	// What follows belongs to the request's goroutine.
	begun    bool // the answer has
	format   protocol.EventStream
	deadline time.Time // of the newest write
}

func newStream(s *session, w http.ResponseWriter) *stream {
	return &stream{session: s, w: w, control: http.NewResponseController(w), woken: make(chan struct{}, 1), over: make(chan struct{})}
}

func (st *stream) name() string { return "sse" }

func (st *stream) alive() bool { return true } // such a client says nothing

func (st *stream) wake() {
	select {
	case st.woken <- struct{}{}:
	default:
	}
}

// closeWith ends the stream; the first code wins. A client that is too slow, or is cut
// off, is not waited for.
func (st *stream) closeWith(code protocol.CloseCode, detail string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	first := st.code == 0
	if first {
		st.code, st.detail = code, detail
		dropped := st.session.sendQueue.seal(code == protocol.CloseSlowConsumer)
		st.session.hub.metrics.drops.WithLabelValues(dropSlow).Add(float64(dropped))
		close(st.over)
	}
	switch {
	case st.gone:
	case code == protocol.CloseAbnormal:
		st.hurry(0)
	case first:
		st.hurry(controlTimeout)
	}
}

// hurry bounds the write under way, and all that follow. The caller holds mu.
func (st *stream) hurry(d time.Duration) {
	st.hurried = true
	_ = st.control.SetWriteDeadline(time.Now().Add(d)) // a writer without deadlines is a test's
}

// run writes until the client goes or the stream is closed.
func (st *stream) run(ctx context.Context) {
	for {
		select {
		case <-st.woken:
			st.flush()
		case <-ctx.Done():
			st.closeWith(protocol.CloseAbnormal, "closed by the client")
			return
		case <-st.over:
			st.flush()
			st.farewell()
			return
		}
	}
}

// flush writes all that waits, as slowly as the client reads.
func (st *stream) flush() {
	buf, _ := writeBuffers.Get().(*writeBuffer)
	defer writeBuffers.Put(buf)
	for {
		clear(buf.items)
		buf.items = st.session.sendQueue.take(buf.items[:0], maxWriteItems, maxWriteBytes)
		if len(buf.items) == 0 {
			return
		}
		buf.bytes = buf.bytes[:0]
		for i := range buf.items {
			buf.bytes = st.appendItem(buf.bytes, &buf.items[i])
		}
		if err := st.write(buf.bytes); err != nil {
			if isTimeout(err) || !time.Now().Before(st.deadline) { // HTTP/2 says only that the stream is closed
				st.session.hub.metrics.limit(limitWriteTimeout)
				st.closeWith(protocol.CloseSlowConsumer, "write timed out")
			} else {
				st.closeWith(protocol.CloseAbnormal, err.Error())
			}
			return
		}
		st.session.hub.metrics.written(buf.items, st.session.fresh.Load())
	}
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
	st.mu.Lock()
	if !st.hurried {
		_ = st.control.SetWriteDeadline(st.deadline) // as in hurry
	}
	st.mu.Unlock()
	_, err := st.w.Write(p)
	if err == nil {
		err = st.control.Flush()
	}
	if err == nil && !time.Now().Before(st.deadline) {
		err = os.ErrDeadlineExceeded // HTTP/2 ends the stream some time soon
	}
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.hurried {
		_ = st.control.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream though nothing is being written
	}
	return nil
}

// farewell says how it ended, since such a stream has no close code.
func (st *stream) farewell() {
	st.mu.Lock()
	code := st.code
	st.mu.Unlock()
	if code == protocol.CloseAbnormal {
		return
	}
	_ = st.write(st.format.AppendClosed(nil, code)) // the last word: nobody is left to tell
}

// leave is the last thing that the request does with w.
func (st *stream) leave() (protocol.CloseCode, string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	return st.code, st.detail
}

// appendItem makes an item an event of the stream.
func (st *stream) appendItem(dst []byte, it *item) []byte {
	switch {
	case it.frame == nil:
		return st.format.AppendHeartbeat(dst)
	case it.event != nil:
		return st.format.AppendEvent(dst, it.event.account, it.event.seq, it.frame)
	}
	return st.format.AppendFrame(dst, it.frame)
}
