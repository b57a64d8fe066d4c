package netconn

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The sizes of the library's buffers. The library writes only control frames through its buffer.
// They have at most 127 bytes with their header, so each arrives as a single Write. It reads frame
// headers through the other buffer. Larger buffers would be most of the memory of an idle
// connection.
const (
	readBufferSize  = 128
	writeBufferSize = 136
)

// controlTimeout is the maximum time for writing a control frame and for a closing handshake.
const controlTimeout = 5 * time.Second

// A socket is the network connection below a WebSocket. It has two writers: the library writes
// control frames and a Conn writes messages. These rules make that safe:
//
//   - A writer holds mu.
//   - Frames stay whole: the unsent rest of a frame is written before anything else.
//   - Nothing is written after a close frame.
//   - permessage-deflate, which does not change control frames, is the only extension.
type socket struct {
	net.Conn
	readAhead []byte      // bytes that the HTTP server read after the handshake request
	received  atomic.Bool // the client sent something
	failed    atomic.Bool // the library could not read or write
	raw       *rawWriter  // nil: this kind of connection cannot be written to without waiting

	mu        sync.Mutex // held while writing; protects the fields below
	unsent    []byte     // the rest of a write; at first the handshake response
	closeSent bool       // a close frame was written
}

// initialize sets the connection and the handshake response, which is not written yet.
func (s *socket) initialize(c net.Conn, response, readAhead []byte) {
	s.Conn = c
	s.unsent = response
	s.readAhead = bytes.Clone(readAhead)
	s.raw = newRawWriter(c)
	s.received.Store(true)
}

// newBuffers returns the library's buffers.
func (s *socket) newBuffers() *bufio.ReadWriter {
	r := bufio.NewReaderSize(s, readBufferSize)
	w := bufio.NewWriterSize(s, writeBufferSize)

	return bufio.NewReadWriter(r, w)
}

// Read implements net.Conn. Only the library calls it.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.readAhead) > 0 {
		n := copy(p, s.readAhead)
		s.readAhead = s.readAhead[n:]
		if len(s.readAhead) == 0 {
			s.readAhead = nil
		}

		return n, nil
	}

	n, err := s.Conn.Read(p)
	if n > 0 && !s.received.Load() {
		s.received.Store(true)
	}
	if err != nil {
		s.failed.Store(true)
	}

	return n, err
}

const (
	opcodeBits  = 0x0f
	closeOpcode = 0x8
)

// Write implements net.Conn. Only the library calls it, with one control frame.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.writeControl(p)
	if err != nil {
		s.failed.Store(true)
	}

	return n, err
}

// writeControl writes a control frame.
func (s *socket) writeControl(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.closeSent {
		return 0, net.ErrClosed
	}

	if len(p) > 0 && p[0]&opcodeBits == closeOpcode {
		s.closeSent = true
	}

	err := s.SetWriteDeadline(time.Now().Add(controlTimeout))
	if err != nil {
		return 0, err
	}
	defer s.clearWriteDeadline()

	err = s.writeUnsent()
	if err != nil {
		return 0, err
	}

	return s.Conn.Write(p)
}

func (s *socket) clearWriteDeadline() {
	_ = s.SetWriteDeadline(time.Time{})
}

// writeUnsent waits until the unsent bytes are written. The caller holds mu and has set a deadline.
func (s *socket) writeUnsent() error {
	if len(s.unsent) == 0 {
		return nil
	}

	n, err := s.Conn.Write(s.unsent)
	s.setUnsent(s.unsent[n:])

	return err
}

// setUnsent sets the unsent bytes. The caller holds mu.
func (s *socket) setUnsent(unsent []byte) {
	s.unsent = unsent
	if len(unsent) == 0 {
		s.unsent = nil
	}
}

// writeAll waits until all of p is written, but not longer than timeout. The caller holds mu.
func (s *socket) writeAll(p []byte, timeout time.Duration) error {
	err := s.SetWriteDeadline(time.Now().Add(timeout))
	if err != nil {
		return err
	}
	defer s.clearWriteDeadline()

	err = s.writeUnsent()
	if err != nil {
		if len(s.unsent) > 0 {
			s.unsent = append(s.unsent, p...)
		}

		return err
	}

	if len(p) == 0 {
		return nil
	}

	n, err := s.Conn.Write(p)
	if err != nil && n > 0 {
		s.unsent = bytes.Clone(p[n:]) // a close frame must not interrupt a frame
	}

	return err
}

// writeAvailable writes as much of p as the socket accepts at once, and keeps the rest as unsent.
// done is false when there is a rest. The caller holds mu. raw must not be nil.
func (s *socket) writeAvailable(p []byte) (done bool, err error) {
	if len(s.unsent) > 0 {
		s.unsent = append(s.unsent, p...) // one write for both
		n, err := s.raw.writeOnce(s.unsent)
		s.setUnsent(s.unsent[n:])
		return s.unsent == nil, err
	}

	n, err := s.raw.writeOnce(p)
	if n < len(p) {
		s.unsent = bytes.Clone(p[n:])
	}

	return n == len(p), err
}
