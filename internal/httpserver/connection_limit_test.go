package httpserver

import (
	"net"
	"net/http"
	"testing"
)

// limitTest is a limit of three connections.
type limitTest struct {
	*testing.T
	limit *connectionLimit
}

// open opens a connection. The limit must choose surplus, or none.
func (l *limitTest) open(surplus net.Conn) net.Conn {
	l.Helper()
	conn, other := net.Pipe()
	l.Cleanup(func() { _ = conn.Close() })
	l.Cleanup(func() { _ = other.Close() })
	got := l.limit.updateState(conn, http.StateNew)
	if got != surplus {
		l.Errorf("got surplus %v, want %v", got, surplus)
	}
	return conn
}

// note records states in which no connection is chosen.
func (l *limitTest) note(conn net.Conn, states ...http.ConnState) {
	l.Helper()
	for _, state := range states {
		got := l.limit.updateState(conn, state)
		if got != nil {
			l.Errorf("%v: got surplus %v, want none", state, got)
		}
	}
}

func (l *limitTest) checkCounts(open, idle int) {
	l.Helper()
	if got := len(l.limit.open); got != open {
		l.Errorf("got %d open connections, want %d", got, open)
	}
	if got := l.limit.idle.Len(); got != idle {
		l.Errorf("got %d idle connections, want %d", got, idle)
	}
}

// A new connection takes the place of the one that has been idle for the longest time.
func TestNewConnectionReplacesIdleOne(t *testing.T) {
	l := limitTest{t, newConnectionLimit(3)}
	first := l.open(nil)
	second := l.open(nil)
	l.note(first, http.StateActive, http.StateIdle)
	l.note(second, http.StateActive, http.StateIdle)
	l.note(first, http.StateActive, http.StateIdle) // the second one is idle for longer
	l.open(nil)
	l.open(second)
	l.checkCounts(3, 1)

	// The server may still report states of the connection that is being closed.
	l.note(second, http.StateActive, http.StateIdle, http.StateClosed)
	l.checkCounts(3, 1)
	l.open(first)
	l.checkCounts(3, 0)
}

func TestBusyConnectionsAreNotReplaced(t *testing.T) {
	l := limitTest{t, newConnectionLimit(3)}
	for range 3 {
		l.note(l.open(nil), http.StateActive)
	}
	conn, other := net.Pipe()
	defer func() { _ = conn.Close() }()
	defer func() { _ = other.Close() }()
	if got := l.limit.updateState(conn, http.StateNew); got != conn {
		t.Errorf("got surplus %v, want the new connection", got)
	}
	l.checkCounts(3, 0)
}

// Closed and hijacked connections do not count.
func TestClosedConnectionsDoNotCount(t *testing.T) {
	l := limitTest{t, newConnectionLimit(3)}
	l.note(l.open(nil), http.StateActive, http.StateHijacked)
	l.note(l.open(nil), http.StateActive, http.StateIdle, http.StateClosed)
	l.note(l.open(nil), http.StateClosed)
	l.checkCounts(0, 0)
}
