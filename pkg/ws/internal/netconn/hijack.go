package netconn

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
)

// An AcceptError says why a request is no handshake.
type AcceptError struct {
	Status int    // HTTP status
	Detail string // for people
}

// Error implements error.
func (e *AcceptError) Error() string { return e.Detail }

// A hijacker is the http.ResponseWriter that the library accepts a connection with. It gives the
// library a socket of ours in place of the server's connection. The handshake's answer stays in the
// socket and leaves with the first frame, which saves a write. Buffers that net/http made for the
// connection are left to the garbage collector.
type hijacker struct {
	http.ResponseWriter
	socket *socket
	status int    // that the library wants to answer
	text   []byte // of a refusal
}

// WriteHeader is called by the library with 101 before Hijack, or with an error.
func (h *hijacker) WriteHeader(status int) { h.status = status }

// Write is called by the library with the text of a refusal.
func (h *hijacker) Write(p []byte) (int, error) {
	h.text = append(h.text, p...)
	return len(p), nil
}

// Hijack is called by the library when its answer is in the header.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	answer := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Header().Write(answer) // a bytes.Buffer takes everything
	answer.WriteString("\r\n")
	h.socket.takeOver(conn, answer.Bytes(), ahead)
	return h.socket, h.socket.buffers(), nil
}

// acceptError returns the library's refusal.
func (h *hijacker) acceptError() *AcceptError {
	switch h.status {
	case http.StatusUpgradeRequired, http.StatusBadRequest:
		return &AcceptError{Status: h.status, Detail: string(bytes.TrimSpace(h.text))}
	}
	return &AcceptError{Status: http.StatusInternalServerError, Detail: "the connection could not be taken over"}
}
