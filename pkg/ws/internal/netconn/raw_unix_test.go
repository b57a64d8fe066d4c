//go:build unix

package netconn

import (
	"net"
	"testing"
)

// A wrappedConn is a connection that began with a PROXY header.
type wrappedConn struct{ net.Conn }

func (w wrappedConn) TCPConn() (conn *net.TCPConn, ok bool) {
	conn, ok = w.Conn.(*net.TCPConn)
	return conn, ok
}

// Connections behind a proxy are written to without waiting, too.
func TestRawWriterOfWrappedConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	tcp, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	pipe, other := net.Pipe()
	defer func() { _ = pipe.Close() }()
	defer func() { _ = other.Close() }()

	for name, tc := range map[string]struct {
		conn  net.Conn
		isRaw bool
	}{
		"TCP":              {tcp, true},
		"wrapped TCP":      {wrappedConn{tcp}, true},
		"wrapped pipe":     {wrappedConn{pipe}, false},
		"not a TCP socket": {pipe, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newRawWriter(tc.conn) != nil; got != tc.isRaw {
				t.Errorf("raw writer: got %t, want %t", got, tc.isRaw)
			}
		})
	}
}
