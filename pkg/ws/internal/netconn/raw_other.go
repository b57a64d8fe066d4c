//go:build !unix

package netconn

import "net"

// A rawWriter writes to a socket without waiting. It is not implemented for this system, so each
// connection that has something to write uses a goroutine.
type rawWriter struct{}

func newRawWriter(net.Conn) *rawWriter { return nil }

func (*rawWriter) writeOnce([]byte) (int, error) { return 0, nil }
