package pgconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// SilenceError means that the server did not answer within the time limit of a round trip. It is a
// net.Error.
type SilenceError struct{ Limit time.Duration }

func (e *SilenceError) Error() string {
	return fmt.Sprintf("Postgres must answer within %v; the connection was closed", e.Limit)
}

// Timeout implements net.Error.
func (*SilenceError) Timeout() bool { return true }

// Temporary implements net.Error.
func (*SilenceError) Temporary() bool { return false }

// Unwrap returns os.ErrDeadlineExceeded.
func (*SilenceError) Unwrap() error { return os.ErrDeadlineExceeded }

// socket is the network connection beneath the driver. One goroutine at a time uses it; only abort
// may be called from others.
type socket struct {
	net.Conn
	server  *Server
	isProbe bool
	limit   time.Duration // of a round trip; 0 before the connection is set up, and for no limit

	waiting  bool         // a request was sent, and no byte of an answer has come
	lastRead atomic.Int64 // time of the last answer, in Unix nanoseconds
	broken   atomic.Bool  // the connection must not be used again
}

// Write starts a round trip, or continues to send its request.
func (s *socket) Write(b []byte) (int, error) {
	if s.broken.Load() {
		return 0, s.opError("write", net.ErrClosed)
	}

	err := s.startTimer()
	if err != nil {
		return 0, err
	}

	s.waiting = true
	n, err := s.Conn.Write(b)
	if err != nil {
		return n, s.breakOff("write", err)
	}

	return n, nil
}

// Read waits for the next bytes of an answer. Each read has the whole time limit, because the rows
// of a large answer may be used slowly.
func (s *socket) Read(b []byte) (int, error) {
	if s.broken.Load() {
		return 0, s.opError("read", net.ErrClosed)
	}

	err := s.startTimer()
	if err != nil {
		return 0, err
	}

	n, err := s.Conn.Read(b)
	if err != nil {
		return n, s.breakOff("read", err)
	}

	s.waiting = false
	s.lastRead.Store(time.Now().UnixNano())
	return n, nil
}

// SetDeadline sets the deadline of the setup. The driver removes it before it has asked for the
// server's role, and that removal is ignored.
func (s *socket) SetDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}

	return s.Conn.SetDeadline(t)
}

func (s *socket) startTimer() error {
	if s.limit == 0 {
		return nil
	}

	return s.Conn.SetDeadline(time.Now().Add(s.limit))
}

// setLimit ends the setup. From then on each round trip has the limit; 0 means none.
func (s *socket) setLimit(limit time.Duration) error {
	s.limit = limit
	return s.Conn.SetDeadline(time.Time{})
}

// breakOff closes the socket after an error, so that the driver sends nothing more on it. It
// returns the error with the type that the driver knows.
func (s *socket) breakOff(operation string, err error) error {
	wasAborted := s.broken.Swap(true)
	_ = s.Conn.Close()
	if s.waiting {
		s.server.noteLoss()
	}

	isSilent := s.limit > 0 && !wasAborted && errors.Is(err, os.ErrDeadlineExceeded)
	if isSilent && !s.isProbe {
		s.server.suspectOthers()
	}

	if isSilent {
		return s.opError(operation, &SilenceError{s.limit})
	}

	return err
}

func (s *socket) opError(operation string, err error) error {
	return &net.OpError{
		Op:     operation,
		Net:    s.RemoteAddr().Network(),
		Source: s.LocalAddr(),
		Addr:   s.RemoteAddr(),
		Err:    err,
	}
}

// abort closes the socket. It ends a read or write that runs.
func (s *socket) abort() {
	s.broken.Store(true)
	_ = s.Conn.Close()
}

// The keep-alive probes find a dead peer of an idle connection in 10 + 3*3 s.
var keepAlive = net.KeepAliveConfig{
	Enable:   true,
	Idle:     10 * time.Second,
	Interval: 3 * time.Second,
	Count:    3,
}

// dialer opens the socket of one connection. It implements pq.Dialer and pq.DialerContext.
type dialer struct {
	server  *Server
	isProbe bool

	// socket is the newest one. The driver dials again if sslmode is allow or prefer.
	socket atomic.Pointer[socket]
}

// DialContext implements pq.DialerContext.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nd := net.Dialer{
		KeepAliveConfig: keepAlive,
		Control:         setUserTimeout,
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}

	s := &socket{
		Conn:    conn,
		server:  d.server,
		isProbe: d.isProbe,
	}
	s.lastRead.Store(time.Now().UnixNano())
	d.socket.Store(s)
	return s, nil
}

// Dial implements pq.Dialer. The driver calls DialContext instead.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements pq.Dialer. The driver calls DialContext instead.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// abort closes the newest socket.
func (d *dialer) abort() {
	s := d.socket.Load()
	if s != nil {
		s.abort()
	}
}
