//go:build unix

package netconn

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// A rawWriter writes to a socket without waiting. The buffer and the result are fields, because a
// closure for each write would be an allocation for each write.
type rawWriter struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool // writes p and sets n and err
	p    []byte
	n    int
	err  error
}

// A tcpWrapper is a connection that writes to a TCP connection without a change, such as one that
// began with a PROXY header.
type tcpWrapper interface {
	TCPConn() (conn *net.TCPConn, ok bool)
}

// newRawWriter returns a writer for the socket of c. It returns nil when the socket does not carry
// the bytes as they are, as with TLS.
func newRawWriter(c net.Conn) *rawWriter {
	tcp, ok := c.(*net.TCPConn)
	wrapper, isWrapper := c.(tcpWrapper)
	if isWrapper {
		tcp, ok = wrapper.TCPConn()
	}
	if !ok {
		return nil
	}

	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}

	w := &rawWriter{conn: raw}
	w.try = func(fd uintptr) bool {
		for {
			w.n, w.err = syscall.Write(int(fd), w.p)
			if !errors.Is(w.err, syscall.EINTR) {
				return true // do not wait until the socket is writable
			}
		}
	}

	return w
}

// writeOnce writes as much as the socket accepts at once. It returns 0 and no error when that is
// nothing.
func (w *rawWriter) writeOnce(p []byte) (int, error) {
	w.p = p
	err := w.conn.Write(w.try)
	w.p = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(w.err, syscall.EAGAIN):
		return 0, nil
	case w.err != nil:
		return 0, w.err
	case w.n == 0 && len(p) > 0:
		return 0, io.ErrShortWrite
	}

	return w.n, nil
}
