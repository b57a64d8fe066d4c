package httpserver

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// shortageLogInterval is the time between two warnings about file descriptors.
const shortageLogInterval = time.Minute

// descriptorListener is a listener that keeps working while the process has no file descriptor left.
// It logs a warning. If it has a reserve of descriptors, it accepts connections with them. Without
// one, the server tries again until descriptors are free.
type descriptorListener struct {
	net.Listener
	log     *slog.Logger
	reserve *descriptorReserve // nil: none
	logged  time.Time          // of the last warning; only Accept uses it
}

// Accept accepts a connection.
func (l *descriptorListener) Accept() (net.Conn, error) {
	l.reserve.refill()
	for {
		conn, err := l.Listener.Accept()
		if !isDescriptorShortage(err) {
			return conn, err
		}

		l.logShortage(err)
		if !l.reserve.release() {
			return nil, err
		}
	}
}

// isDescriptorShortage reports whether the process or the system has no file descriptor left.
func isDescriptorShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func (l *descriptorListener) logShortage(err error) {
	now := time.Now()
	if !l.logged.IsZero() && now.Sub(l.logged) < shortageLogInterval {
		return
	}
	l.logged = now
	l.log.Warn("no file descriptor is left for a connection; raise the limit of open files (ulimit -n, LimitNOFILE)",
		"address", l.Addr().String(), "error", err)
}

// descriptorReserve holds open files. Closing one of them makes a descriptor free for a connection.
// A nil reserve is empty.
type descriptorReserve struct {
	size int

	mu     sync.Mutex
	files  []*os.File
	closed bool
}

// refill opens files until the reserve is full, or until no descriptor is left.
func (r *descriptorReserve) refill() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.files) < r.size && !r.closed {
		file, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		r.files = append(r.files, file)
	}
}

// release closes a file. It reports false if the reserve is empty.
func (r *descriptorReserve) release() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.files) == 0 {
		return false
	}
	last := len(r.files) - 1
	_ = r.files[last].Close() // it was only open
	r.files = r.files[:last]
	return true
}

// noteState refills the reserve when a connection was closed.
func (r *descriptorReserve) noteState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		r.refill()
	}
}

// close closes all files.
func (r *descriptorReserve) close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for r.release() {
	}
}
