package httpserver

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// A connectionLimit bounds the open connections of a server. At the bound, a new connection takes
// the place of the one that has waited longest for its next request. If all connections have a
// request, the new one is closed.
type connectionLimit struct {
	maximum int

	mu   sync.Mutex
	open map[net.Conn]*list.Element // the element in idle, or nil if the connection has a request
	idle *list.List                 // the connections without a request, the longest idle first
}

func newConnectionLimit(maximum int) *connectionLimit {
	return &connectionLimit{
		maximum: maximum,
		open:    make(map[net.Conn]*list.Element),
		idle:    list.New(),
	}
}

// noteState is the ConnState of a server.
func (l *connectionLimit) noteState(conn net.Conn, state http.ConnState) {
	surplus := l.updateState(conn, state)
	if surplus != nil {
		// With TLS, Close writes to the client. It gives up after 5 s, so nobody waits for it.
		go func() { _ = surplus.Close() }()
	}
}

// updateState records the state of a connection. It returns the connection that must be closed, or
// nil.
func (l *connectionLimit) updateState(conn net.Conn, state http.ConnState) (surplus net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()

	switch state {
	case http.StateNew:
		l.open[conn] = nil
		return l.chooseSurplus(conn)
	case http.StateActive:
		l.setBusy(conn)
	case http.StateIdle:
		l.setIdle(conn)
	case http.StateHijacked, http.StateClosed:
		l.setBusy(conn)
		delete(l.open, conn)
	}
	return nil
}

// chooseSurplus returns the connection that must be closed because newest was opened, or nil. The
// connection no longer counts.
func (l *connectionLimit) chooseSurplus(newest net.Conn) net.Conn {
	if len(l.open) <= l.maximum {
		return nil
	}

	surplus := newest
	longestIdle := l.idle.Front()
	if longestIdle != nil {
		surplus = l.idle.Remove(longestIdle).(net.Conn)
	}
	delete(l.open, surplus)
	return surplus
}

// setBusy removes a connection from the idle ones.
func (l *connectionLimit) setBusy(conn net.Conn) {
	element := l.open[conn]
	if element != nil {
		l.idle.Remove(element)
		l.open[conn] = nil
	}
}

func (l *connectionLimit) setIdle(conn net.Conn) {
	element, isOpen := l.open[conn]
	if isOpen && element == nil { // not one that is about to be closed
		l.open[conn] = l.idle.PushBack(conn)
	}
}
