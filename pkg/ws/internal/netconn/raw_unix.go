//go:build unix

package netconn

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// A rawWriter writes to a socket without waiting. The buffer and the result are fields, since a
// closure that is made for each write would be garbage for each write.
type rawWriter struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool
	p    []byte
	n    int
	err  error
}

// newRawWriter returns nil for connections that have no socket of their own, such as those with TLS.
func newRawWriter(c net.Conn) *rawWriter {
	sc, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWriter{conn: raw}
	w.try = func(fd uintptr) bool {
		for {
			w.n, w.err = syscall.Write(int(fd), w.p)
			if !errors.Is(w.err, syscall.EINTR) {
				return true // never wait for the socket
			}
		}
	}
	return w
}

// write writes what the socket takes at once: 0 and no error when that is nothing.
func (w *rawWriter) write(p []byte) (int, error) {
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
