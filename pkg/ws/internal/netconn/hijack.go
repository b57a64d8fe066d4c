package netconn

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
)

// An AcceptError says why a request is not a valid WebSocket handshake.
type AcceptError struct {
	Status int    // HTTP status
	Detail string // for people
}

// Error implements error.
func (e *AcceptError) Error() string { return e.Detail }

// A hijacker is the http.ResponseWriter that the library uses to accept a connection. It gives the
// library a socket of this package in place of the server's connection. The handshake response
// stays in the socket and is written together with the first frame, which saves a write. The
// buffers that net/http allocated for the connection are left to the garbage collector.
type hijacker struct {
	http.ResponseWriter
	socket *socket
	status int    // the status of the library's response
	text   []byte // the library's error text
}

// WriteHeader implements http.ResponseWriter. The library calls it with 101 before Hijack, or with
// the status of an error.
func (h *hijacker) WriteHeader(status int) { h.status = status }

// Write implements http.ResponseWriter. The library calls it with an error text.
func (h *hijacker) Write(p []byte) (int, error) {
	h.text = append(h.text, p...)
	return len(p), nil
}

// Hijack implements http.Hijacker. The library calls it after it has set the response headers.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}

	readAhead, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}

	response := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Header().Write(response) // writing to a bytes.Buffer never fails
	response.WriteString("\r\n")
	h.socket.initialize(conn, response.Bytes(), readAhead)

	return h.socket, h.socket.newBuffers(), nil
}

// acceptError returns the library's error.
func (h *hijacker) acceptError() *AcceptError {
	switch h.status {
	case http.StatusUpgradeRequired, http.StatusBadRequest:
		return &AcceptError{
			Status: h.status,
			Detail: string(bytes.TrimSpace(h.text)),
		}
	}

	return &AcceptError{
		Status: http.StatusInternalServerError,
		Detail: "the connection cannot be upgraded",
	}
}
