//go:build linux

// Package fleet is some ten thousand WebSocket clients in one thread: raw sockets
// and epoll, so that the load generator costs little beside the server that it
// measures. Each client opens one subscription, counts the events that it gets, and
// checks that they come in order; an event's stamp (feed.Marker) tells when it was
// published.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/histogram"
)

// Fleet is clients of one server.
type Fleet struct {
	dialect Dialect
	addr    string
	to      syscall.SockaddrInet4
	clients []client
	missed  int // events that each client gets at once, because it was away
	atOnce  int

	epoll   int
	byFD    map[int32]*client
	dialed  int // clients whose connection was begun
	buf     []byte
	scratch []byte
	quit    chan struct{}
	stopped sync.WaitGroup

	ready   atomic.Int64 // clients whose subscription is open
	events  atomic.Int64
	latency atomic.Pointer[histogram.Histogram]
	fault   atomic.Pointer[error]
	opened  chan struct{} // closed when all are ready, or at the first fault
	once    sync.Once
}

// Plan is what clients a fleet has.
type Plan struct {
	Clients []Client
	Missed  int // events that each client must get before it counts as connected
	AtOnce  int // handshakes at the same time; more would overrun the listener's queue
}

// Open connects all clients and waits until each has its subscription and the
// events that it missed.
func Open(ctx context.Context, addr string, d Dialect, p Plan) (*Fleet, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		dialect: d, addr: addr, missed: p.Missed, atOnce: p.AtOnce,
		to:      syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()},
		clients: make([]client, len(p.Clients)), byFD: make(map[int32]*client, len(p.Clients)),
		buf: make([]byte, 256<<10), quit: make(chan struct{}), opened: make(chan struct{}),
	}
	for i := range f.clients {
		f.clients[i] = client{Client: p.Clients[i], fd: -1}
	}
	f.latency.Store(new(histogram.Histogram))
	if f.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	f.stopped.Go(f.run)
	select {
	case <-f.opened:
		err = f.Err()
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(openTimeout):
		err = fmt.Errorf("%d of %d clients were subscribed within %s", f.ready.Load(), len(f.clients), openTimeout)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

const openTimeout = time.Minute

// Close ends all connections.
func (f *Fleet) Close() {
	close(f.quit)
	f.stopped.Wait()
	for i := range f.clients {
		if fd := f.clients[i].fd; fd >= 0 {
			// A reset: ten thousand sockets need not linger.
			_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
			_ = syscall.Close(fd)
		}
	}
	_ = syscall.Close(f.epoll)
}

// Err is the first thing that went wrong: a connection that ended, an error
// message, an event out of order.
func (f *Fleet) Err() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Events is how many events all clients got so far.
func (f *Fleet) Events() int64 { return f.events.Load() }

// Measure begins to count latencies anew, and returns where.
func (f *Fleet) Measure() *histogram.Histogram {
	h := new(histogram.Histogram)
	f.latency.Store(h)
	return h
}

// Await waits until all clients together got that many events.
func (f *Fleet) Await(ctx context.Context, events int64, timeout time.Duration) error {
	late := time.After(timeout)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for f.Events() < events {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%d of %d events arrived; the rest did not within %s", f.Events(), events, timeout)
		case <-poll.C:
		}
		if err := f.Err(); err != nil {
			return err
		}
	}
	if got := f.Events(); got > events {
		return fmt.Errorf("%d events arrived, more than the %d that there were", got, events)
	}
	return f.Err()
}

func (f *Fleet) fail(err error) {
	f.fault.CompareAndSwap(nil, &err)
	f.once.Do(func() { close(f.opened) })
}

// run is the thread of all clients.
func (f *Fleet) run() {
	ready := make([]syscall.EpollEvent, 512)
	for {
		select {
		case <-f.quit:
			return
		default:
		}
		f.dial()
		n, err := syscall.EpollWait(f.epoll, ready, 20)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			f.fail(fmt.Errorf("epoll: %w", err))
			return
		}
		got := 0
		for i := range max(n, 0) {
			c := f.byFD[ready[i].Fd]
			events, err := f.serve(c)
			got += events
			if err != nil {
				f.fail(fmt.Errorf("client of %s: %w", c.Account, err))
				return
			}
		}
		f.events.Add(int64(got))
		if f.ready.Load() == int64(len(f.clients)) {
			f.once.Do(func() { close(f.opened) })
		}
	}
}

// dial begins as many connections as may be under way.
func (f *Fleet) dial() {
	for f.dialed < len(f.clients) && f.dialed-int(f.ready.Load()) < f.atOnce {
		c := &f.clients[f.dialed]
		f.dialed++
		if err := f.connect(c); err != nil {
			f.fail(fmt.Errorf("connect: %w", err))
			return
		}
	}
}

func (f *Fleet) connect(c *client) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	f.byFD[int32(fd)] = c                                                      //nolint:gosec // descriptors are small
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // else it is only slower
	if err := syscall.Connect(fd, &f.to); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	return f.watch(c, syscall.EPOLL_CTL_ADD, syscall.EPOLLOUT)
}

func (f *Fleet) watch(c *client, op int, events uint32) error {
	return syscall.EpollCtl(f.epoll, op, c.fd, &syscall.EpollEvent{Events: events, Fd: int32(c.fd)}) //nolint:gosec // descriptors are small
}
