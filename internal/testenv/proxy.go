package testenv

import (
	"net"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to a target and can hold back what flows through it: the network of a failure test. Its
// methods may be called from several goroutines.
type Proxy struct {
	target   string
	listener net.Listener
	requests *gate // client to target
	replies  *gate // target to client
	wg       sync.WaitGroup

	mu     sync.Mutex // protects links and closed
	links  map[*link]struct{}
	closed bool
}

// NewProxy starts a proxy on a free port of 127.0.0.1 that forwards to target (host:port). It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{
		target: target, listener: listener, requests: newGate(), replies: newGate(), links: make(map[*link]struct{}),
	}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is the host:port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// PauseRequests holds back bytes from clients to the target. Connections are still accepted.
func (p *Proxy) PauseRequests() { p.requests.shut() }

// PauseReplies holds back bytes from the target to clients: the target acts, and nobody hears of it.
func (p *Proxy) PauseReplies() { p.replies.shut() }

// Resume lets both directions flow again, beginning with what was held back.
func (p *Proxy) Resume() {
	p.requests.open()
	p.replies.open()
}

// Cut closes all connections; what was held back of them is lost. New connections are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the client sees its connection end
	}
	l := &link{client: client, server: server, gone: make(chan struct{})}
	defer l.close()
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	var wg sync.WaitGroup
	wg.Go(func() { l.forward(server, client, p.requests) })
	wg.Go(func() { l.forward(client, server, p.replies) })
	wg.Wait()
}

// add makes l one of those that Cut closes; false when the proxy has ended.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// link is one client's connection and its continuation to the target.
type link struct {
	client, server net.Conn
	once           sync.Once
	gone           chan struct{} // closed by close
}

// close ends both sides: there are no half-closed links.
func (l *link) close() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

func (l *link) forward(to, from net.Conn, g *gate) {
	defer l.close()
	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-g.pass():
		case <-l.gone:
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// gate is open, or shut until it is opened again.
type gate struct {
	mu     sync.Mutex // protects both fields
	isShut bool
	opened chan struct{} // closed when the gate is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

// pass returns a channel that is closed once the gate is open.
func (g *gate) pass() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isShut {
		g.isShut, g.opened = true, make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		g.isShut = false
		close(g.opened)
	}
}
