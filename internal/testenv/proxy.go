package testenv

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards TCP connections to a target and can hold their bytes back. Tests use it to make
// the network fail. Its methods may be called from several goroutines.
type Proxy struct {
	listener net.Listener
	requests *gate        // client to target
	replies  *gate        // target to client
	delay    atomic.Int64 // of each piece, a time.Duration
	wg       sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	target  string
	links   map[*link]struct{}
	refuses bool
	closed  bool
}

// NewProxy starts a proxy on a free port of 127.0.0.1 that forwards to target (host:port). It runs
// until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the proxy: %v", err)
	}

	p := &Proxy{
		target:   target,
		listener: listener,
		requests: newGate(),
		replies:  newGate(),
		links:    make(map[*link]struct{}),
	}

	p.wg.Go(p.acceptClients)
	t.Cleanup(p.closeProxy)
	return p
}

// Addr returns the host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// PauseRequests holds back bytes from clients to the target. The proxy still accepts connections.
func (p *Proxy) PauseRequests() { p.requests.closeGate() }

// PauseReplies holds back bytes from the target to clients. The target still acts on requests.
func (p *Proxy) PauseReplies() { p.replies.closeGate() }

// Resume lets bytes flow again in both directions, beginning with those that were held back.
func (p *Proxy) Resume() {
	p.requests.openGate()
	p.replies.openGate()
}

// Cut closes all connections. Bytes that were held back are lost. The proxy still accepts
// connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.closeLink()
	}
}

// SilenceLinks makes the present connections silent for ever: the proxy takes their bytes and passes
// none on, and closes nothing. So they look as if a firewall had forgotten them. The proxy still
// forwards new connections.
func (p *Proxy) SilenceLinks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.silent.Store(true)
	}
}

// Delay holds each piece of data back for a time, in both directions. With 0 it ends.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Refuse closes each new connection at once, until it is called with false.
func (p *Proxy) Refuse(refuses bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
}

// SetTarget makes new connections lead to another server. The present ones stay as they are.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// newTarget returns where a new connection leads. It reports false if it is refused.
func (p *Proxy) newTarget() (target string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target, !p.refuses
}

func (p *Proxy) closeProxy() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) acceptClients() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the listener is closed
		}

		p.wg.Go(func() { p.serveClient(client) })
	}
}

func (p *Proxy) serveClient(client net.Conn) {
	defer client.Close()

	target, ok := p.newTarget()
	if !ok {
		return
	}

	server, err := net.Dial("tcp", target)
	if err != nil {
		return // the client's connection ends
	}

	l := &link{client: client, server: server, done: make(chan struct{})}
	defer l.closeLink()

	if !p.addLink(l) {
		return
	}
	defer p.removeLink(l)

	var wg sync.WaitGroup
	wg.Go(func() { l.forwardBytes(server, client, p.requests, &p.delay) })
	wg.Go(func() { l.forwardBytes(client, server, p.replies, &p.delay) })
	wg.Wait()
}

// addLink adds a link for Cut. It reports false if the proxy is closed.
func (p *Proxy) addLink(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.closed {
		return false
	}

	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) removeLink(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// link is the connection of one client and the connection to the target that belongs to it.
type link struct {
	client net.Conn
	server net.Conn
	once   sync.Once
	done   chan struct{} // closed by closeLink
	silent atomic.Bool   // bytes are taken and not passed on
}

// closeLink closes both connections. There are no half-closed links.
func (l *link) closeLink() {
	l.once.Do(func() {
		close(l.done)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

func (l *link) forwardBytes(to, from net.Conn, g *gate, delay *atomic.Int64) {
	defer l.closeLink()

	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}

		select {
		case <-g.waitOpen():
		case <-l.done:
			return
		}

		d := time.Duration(delay.Load())
		if d > 0 && !l.waitDelay(d) {
			return
		}

		if l.silent.Load() {
			continue
		}

		_, err = to.Write(buffer[:n])
		if err != nil {
			return
		}
	}
}

// waitDelay waits. It reports false if the link is closed meanwhile.
func (l *link) waitDelay(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// gate lets bytes pass while it is open.
type gate struct {
	mu       sync.Mutex // protects both fields
	isClosed bool
	opened   chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

// waitOpen returns a channel that is closed when the gate is open.
func (g *gate) waitOpen() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

func (g *gate) closeGate() {
	g.mu.Lock()
	defer g.mu.Unlock()

	if g.isClosed {
		return
	}

	g.isClosed = true
	g.opened = make(chan struct{})
}

func (g *gate) openGate() {
	g.mu.Lock()
	defer g.mu.Unlock()

	if !g.isClosed {
		return
	}

	g.isClosed = false
	close(g.opened)
}
