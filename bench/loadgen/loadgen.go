//go:build linux

// Package loadgen runs ten thousand WebSocket clients in one thread. It uses raw sockets and epoll,
// so that it needs little CPU time compared with the measured server. Each client opens one
// subscription, counts the events that it gets, and checks their order. The stamp of an event
// (feed.Marker) is the time at which the event was published.
package loadgen

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

// Generator runs the clients of one server.
type Generator struct {
	protocol ClientProtocol
	addr     string
	to       syscall.SockaddrInet4
	clients  []client
	missed   int // events that each client gets right after it has subscribed
	atOnce   int

	epoll   int
	byFD    map[int32]*client
	dialed  int // number of clients that have begun to connect
	buf     []byte
	scratch []byte
	quit    chan struct{}
	stopped sync.WaitGroup

	ready   atomic.Int64 // clients that have their subscription and the missed events
	events  atomic.Int64
	latency atomic.Pointer[histogram.Histogram]
	fault   atomic.Pointer[error]
	opened  chan struct{} // closed when all are ready, or at the first fault
	once    sync.Once
}

// Plan describes the clients of a generator.
type Plan struct {
	Clients []Client
	Missed  int // events that each client must get before it counts as connected
	AtOnce  int // concurrent handshakes; too many would overflow the queue of the listener
}

// Open connects all clients and waits until each has its subscription and the events that it
// missed.
func Open(ctx context.Context, addr string, protocol ClientProtocol, p Plan) (*Generator, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}

	g := &Generator{
		protocol: protocol,
		addr:     addr,
		to:       syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()},
		clients:  make([]client, len(p.Clients)),
		missed:   p.Missed,
		atOnce:   p.AtOnce,
		byFD:     make(map[int32]*client, len(p.Clients)),
		buf:      make([]byte, 256<<10),
		quit:     make(chan struct{}),
		opened:   make(chan struct{}),
	}
	for i := range g.clients {
		g.clients[i] = client{Client: p.Clients[i], fd: -1}
	}

	g.latency.Store(new(histogram.Histogram))
	g.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}

	g.stopped.Go(g.runLoop)
	select {
	case <-g.opened:
		err = g.Err()
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(openTimeout):
		err = fmt.Errorf("%d of %d clients were subscribed within %s",
			g.ready.Load(), len(g.clients), openTimeout)
	}

	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

const openTimeout = time.Minute

// Close ends all connections.
func (g *Generator) Close() {
	close(g.quit)
	g.stopped.Wait()
	for i := range g.clients {
		if fd := g.clients[i].fd; fd >= 0 {
			// The connection is reset, because ten thousand sockets should not linger.
			_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER,
				&syscall.Linger{Onoff: 1})
			_ = syscall.Close(fd)
		}
	}

	_ = syscall.Close(g.epoll)
}

// Err returns the first fault. A fault is the end of a connection, an error message or an event out
// of order.
func (g *Generator) Err() error {
	err := g.fault.Load()
	if err != nil {
		return *err
	}
	return nil
}

// Events returns the number of events that all clients together have received.
func (g *Generator) Events() int64 { return g.events.Load() }

// Measure starts a new histogram of latencies and returns it.
func (g *Generator) Measure() *histogram.Histogram {
	h := new(histogram.Histogram)
	g.latency.Store(h)
	return h
}

// Await waits until all clients together have received a number of events.
func (g *Generator) Await(ctx context.Context, events int64, timeout time.Duration) error {
	expired := time.After(timeout)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for g.Events() < events {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-expired:
			return fmt.Errorf("%d of %d events arrived within %s", g.Events(), events, timeout)
		case <-poll.C:
		}

		err := g.Err()
		if err != nil {
			return err
		}
	}

	got := g.Events()
	if got > events {
		return fmt.Errorf("%d events arrived, but only %d were published", got, events)
	}
	return g.Err()
}

// reportFault keeps the first fault and wakes Open.
func (g *Generator) reportFault(err error) {
	g.fault.CompareAndSwap(nil, &err)
	g.once.Do(func() { close(g.opened) })
}

// runLoop serves all clients in one thread until Close or the first fault.
func (g *Generator) runLoop() {
	ready := make([]syscall.EpollEvent, 512)
	for {
		select {
		case <-g.quit:
			return
		default:
		}

		g.dialClients()
		n, err := syscall.EpollWait(g.epoll, ready, 20)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			g.reportFault(fmt.Errorf("wait for epoll: %w", err))
			return
		}

		got := 0
		for i := range max(n, 0) {
			c := g.byFD[ready[i].Fd]
			events, err := g.handleReady(c)
			got += events
			if err != nil {
				g.reportFault(fmt.Errorf("client of %s: %w", c.Account, err))
				return
			}
		}

		g.events.Add(int64(got))
		if g.ready.Load() == int64(len(g.clients)) {
			g.once.Do(func() { close(g.opened) })
		}
	}
}

// dialClients starts connections until there are atOnce unfinished handshakes.
func (g *Generator) dialClients() {
	for g.dialed < len(g.clients) {
		handshakes := g.dialed - int(g.ready.Load())
		if handshakes >= g.atOnce {
			return
		}

		c := &g.clients[g.dialed]
		g.dialed++
		err := g.connectClient(c)
		if err != nil {
			g.reportFault(fmt.Errorf("connect: %w", err))
			return
		}
	}
}

// connectClient starts a non-blocking connection.
func (g *Generator) connectClient(c *client) error {
	const kind = syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	fd, err := syscall.Socket(syscall.AF_INET, kind, 0)
	if err != nil {
		return err
	}

	c.fd = fd
	g.byFD[int32(fd)] = c //nolint:gosec // descriptors are small

	// Without TCP_NODELAY the connection works, but is slower.
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	err = syscall.Connect(fd, &g.to)
	if err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	return g.setInterest(c, syscall.EPOLL_CTL_ADD, syscall.EPOLLOUT)
}

// setInterest sets the events of the socket that epoll reports.
func (g *Generator) setInterest(c *client, op int, events uint32) error {
	return syscall.EpollCtl(g.epoll, op, c.fd, &syscall.EpollEvent{Events: events, Fd: int32(c.fd)}) //nolint:gosec // descriptors are small
}
