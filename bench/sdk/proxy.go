//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// proxy is a TCP proxy in front of a server. Clients keep its address while the server restarts. It
// can fall silent as a dead network does: no byte passes, and no connection is closed.
type proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	target string
	silent bool
	conns  map[net.Conn]bool
	closed bool
}

func startProxy(ctx context.Context) (*proxy, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}

	p := &proxy{
		listener: listener,
		conns:    make(map[net.Conn]bool),
	}
	p.running.Go(p.acceptConns)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// setTarget sets the server of new connections.
func (p *proxy) setTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

func (p *proxy) setSilent(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
}

func (p *proxy) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent
}

// close ends the proxy and its connections.
func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.conns {
		_ = conn.Close() // it may be closed already
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}

func (p *proxy) acceptConns() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		p.running.Go(func() { p.serveConn(client) })
	}
}

const dialTimeout = 5 * time.Second

func (p *proxy) serveConn(client net.Conn) {
	p.addConn(client)
	defer p.removeConn(client)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()

	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.Dial("tcp", target)
	if err != nil {
		return
	}
	p.addConn(server)
	defer p.removeConn(server)

	var both sync.WaitGroup
	both.Go(func() { p.copyBytes(server, client) })
	both.Go(func() { p.copyBytes(client, server) })
	both.Wait()
}

// copyBytes copies until the connections end. While the proxy is silent, it drops what it reads and
// hides the end of a connection.
func (p *proxy) copyBytes(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if p.isSilent() {
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				continue
			}
		}
		if n > 0 {
			_, writeErr := to.Write(buffer[:n])
			if writeErr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close() // the other direction ends with it
	_ = from.Close()
}

func (p *proxy) addConn(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	if p.closed {
		_ = conn.Close()
	}
}

func (p *proxy) removeConn(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	_ = conn.Close() // it may be closed already
}
