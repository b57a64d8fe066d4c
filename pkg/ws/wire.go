package ws

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Buffers of the WebSocket library. It writes only control frames through its own,
// at most 127 bytes with their header, so that each arrives as a single Write; the
// reader's serves frame headers. Large ones would be most of an idle connection.
const (
	readBufferSize  = 128
	writeBufferSize = 136
)

// controlTimeout bounds the write of a control frame.
const controlTimeout = 5 * time.Second

// wire is the network connection below a WebSocket. Two parties write to it: the
// library its control frames, and we our messages, past the library, which flushes
// at each message's end and has no way not to wait. The rules that make that safe:
// whoever writes holds mu; frames stay whole, so that a remainder leaves before
// anything else; nothing follows a close frame; no extension was negotiated but
// permessage-deflate, which control frames have no part in.
type wire struct {
	net.Conn
	ahead []byte // what the HTTP server had read beyond the handshake
	heard atomic.Bool
	raw   *rawWriter // nil: this kind of connection can only be written to by waiting

	mu     sync.Mutex // held while writing; protects what follows
	rest   []byte     // of a write that would have blocked, or the handshake's answer
	ending bool       // a close frame was sent
}

// begin takes over a connection whose handshake's answer is still to leave.
func (w *wire) begin(c net.Conn, answer, ahead []byte) {
	w.Conn, w.rest, w.ahead = c, answer, bytes.Clone(ahead)
	w.raw = newRawWriter(c)
	w.heard.Store(true)
}

// buffers are the library's.
func (w *wire) buffers() *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReaderSize(w, readBufferSize), bufio.NewWriterSize(w, writeBufferSize))
}

// Read is called by the library alone.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.ahead) > 0 {
		n := copy(p, w.ahead)
		if w.ahead = w.ahead[n:]; len(w.ahead) == 0 {
			w.ahead = nil
		}
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if n > 0 && !w.heard.Load() {
		w.heard.Store(true)
	}
	return n, err
}

const closeOpcode = 0x8

// Write is called by the library alone, with one control frame.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return 0, net.ErrClosed
	}
	if len(p) > 0 && p[0]&0x0f == closeOpcode {
		w.ending = true
	}
	if err := w.Conn.SetWriteDeadline(time.Now().Add(controlTimeout)); err != nil {
		return 0, err
	}
	defer func() { _ = w.Conn.SetWriteDeadline(time.Time{}) }()
	if err := w.writeRest(); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// writeRest waits until the remainder has left. The caller holds mu and has set a
// deadline.
func (w *wire) writeRest() error {
	if len(w.rest) == 0 {
		return nil
	}
	n, err := w.Conn.Write(w.rest)
	if w.rest = w.rest[n:]; len(w.rest) == 0 {
		w.rest = nil
	}
	return err
}

// writeAll waits until all of p has left. The caller holds mu.
func (w *wire) writeAll(p []byte, timeout time.Duration) error {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	defer func() { _ = w.Conn.SetWriteDeadline(time.Time{}) }()
	if err := w.writeRest(); err != nil {
		if len(w.rest) > 0 {
			w.rest = append(w.rest, p...)
		}
		return err
	}
	if len(p) == 0 {
		return nil
	}
	n, err := w.Conn.Write(p)
	if err != nil && n > 0 {
		w.rest = append([]byte(nil), p[n:]...) // a close frame must not cut into it
	}
	return err
}

// writeSome writes what the socket takes at once and keeps the rest. done is false
// when there is a rest. The caller holds mu; raw must not be nil.
func (w *wire) writeSome(p []byte) (done bool, err error) {
	if len(w.rest) > 0 {
		w.rest = append(w.rest, p...) // one write for both
		n, err := w.raw.write(w.rest)
		if w.rest = w.rest[n:]; len(w.rest) == 0 {
			w.rest = nil
		}
		return w.rest == nil, err
	}
	n, err := w.raw.write(p)
	if n < len(p) {
		w.rest = append([]byte(nil), p[n:]...)
	}
	return n == len(p), err
}

// hijack gives the library a wire of ours in place of the server's connection. The
// handshake's answer stays in the wire and leaves with the first frame: one write
// less, and most of what a new connection costs is writes.
type hijack struct {
	http.ResponseWriter
	wire   *wire
	status int    // that the library wants to answer
	text   []byte // of a refusal
}

// WriteHeader is called by the library with 101 before Hijack, or with an error.
func (h *hijack) WriteHeader(status int) { h.status = status }

// Write is called by the library with what is wrong.
func (h *hijack) Write(p []byte) (int, error) {
	h.text = append(h.text, p...)
	return len(p), nil
}

// refusal is the library's, as all of ours are.
func (h *hijack) refusal() *HTTPError {
	Code := "invalid_request"
	switch h.status {
	case http.StatusUpgradeRequired:
		Code = "upgrade_required"
	case http.StatusBadRequest:
	default:
		return &HTTPError{Status: http.StatusInternalServerError, Code: "internal", Detail: "the connection could not be taken over"}
	}
	return &HTTPError{Status: h.status, Code: Code, Detail: string(bytes.TrimSpace(h.text))}
}

// Hijack is called by the library, whose answer is in the header by then.
func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	answer := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Header().Write(answer) // never fails
	answer.WriteString("\r\n")
	h.wire.begin(conn, answer.Bytes(), ahead)
	return h.wire, h.wire.buffers(), nil
}
