package netconn

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The sizes of the library's buffers. It writes only control frames through its own, at most 127
// bytes with their header, so that each arrives as a single Write. It reads frame headers through
// the other. Larger ones would be most of an idle connection.
const (
	readBufferSize  = 128
	writeBufferSize = 136
)

// controlTimeout bounds the write of a control frame, and a closing handshake.
const controlTimeout = 5 * time.Second

// A socket is the network connection below a WebSocket. Two parties write to it: the library its
// control frames, and a Conn its messages. These rules make that safe:
//
//   - A writer holds mu.
//   - Frames stay whole: the rest of one leaves before anything else.
//   - Nothing follows a close frame.
//   - No extension is negotiated but permessage-deflate, which leaves control frames alone.
type socket struct {
	net.Conn
	ahead []byte      // read by the HTTP server beyond the handshake
	heard atomic.Bool // the client sent something
	raw   *rawWriter  // nil: this kind of connection cannot be written to without waiting

	mu     sync.Mutex // held while writing; protects what follows
	rest   []byte     // of a write that would have blocked; at first the handshake's answer
	ending bool       // a close frame was sent
}

// takeOver begins with a connection whose handshake's answer is still to be sent.
func (s *socket) takeOver(c net.Conn, answer, ahead []byte) {
	s.Conn = c
	s.rest = answer
	s.ahead = bytes.Clone(ahead)
	s.raw = newRawWriter(c)
	s.heard.Store(true)
}

// buffers returns the library's buffers.
func (s *socket) buffers() *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReaderSize(s, readBufferSize), bufio.NewWriterSize(s, writeBufferSize))
}

// Read is called by the library alone.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.ahead) > 0 {
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		if len(s.ahead) == 0 {
			s.ahead = nil
		}
		return n, nil
	}
	n, err := s.Conn.Read(p)
	if n > 0 && !s.heard.Load() {
		s.heard.Store(true)
	}
	return n, err
}

const (
	opcodeBits  = 0x0f
	closeOpcode = 0x8
)

// Write is called by the library alone, with one control frame.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return 0, net.ErrClosed
	}
	if len(p) > 0 && p[0]&opcodeBits == closeOpcode {
		s.ending = true
	}
	if err := s.SetWriteDeadline(time.Now().Add(controlTimeout)); err != nil {
		return 0, err
	}
	defer func() { _ = s.SetWriteDeadline(time.Time{}) }()
	if err := s.writeRest(); err != nil {
		return 0, err
	}
	return s.Conn.Write(p)
}

// writeRest waits until the rest has left. The caller holds mu and has set a deadline.
func (s *socket) writeRest() error {
	if len(s.rest) == 0 {
		return nil
	}
	n, err := s.Conn.Write(s.rest)
	s.keepRest(s.rest[n:])
	return err
}

// keepRest sets the rest. The caller holds mu.
func (s *socket) keepRest(rest []byte) {
	s.rest = rest
	if len(rest) == 0 {
		s.rest = nil
	}
}

// writeAll waits until all of p has left. The caller holds mu.
func (s *socket) writeAll(p []byte, timeout time.Duration) error {
	if err := s.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	defer func() { _ = s.SetWriteDeadline(time.Time{}) }()
	if err := s.writeRest(); err != nil {
		if len(s.rest) > 0 {
			s.rest = append(s.rest, p...)
		}
		return err
	}
	if len(p) == 0 {
		return nil
	}
	n, err := s.Conn.Write(p)
	if err != nil && n > 0 {
		s.rest = bytes.Clone(p[n:]) // a close frame must not cut into it
	}
	return err
}

// writeSome writes what the socket takes at once and keeps the rest. done is false when there is a
// rest. The caller holds mu; raw must not be nil.
func (s *socket) writeSome(p []byte) (done bool, err error) {
	if len(s.rest) > 0 {
		s.rest = append(s.rest, p...) // one write for both
		n, err := s.raw.write(s.rest)
		s.keepRest(s.rest[n:])
		return s.rest == nil, err
	}
	n, err := s.raw.write(p)
	if n < len(p) {
		s.rest = bytes.Clone(p[n:])
	}
	return n == len(p), err
}
