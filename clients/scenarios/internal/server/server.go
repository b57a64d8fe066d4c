// Package server is the gateway of a scenario: a real HTTP server whose every answer is decided by
// the scenario.
package server

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server waits with every request until the scenario decides about it.
type Server struct {
	URL string

	note     func(Note)
	http     *http.Server
	ctx      context.Context // ends with the server
	cancel   context.CancelFunc
	served   chan struct{}
	handlers sync.WaitGroup
}

// A Note is something that a client did.
type Note struct {
	Request *Request // a new request
	Conn    *Conn    // otherwise: the connection of a frame or of a close
	Frame   any      // a frame as JSON, or a string if it is not JSON
	Closed  *Closed
}

// A Closed is the end of a connection by the client. Code is 0 if it sent no close frame.
type Closed struct {
	Code   int
	Reason string
}

// Start starts a server. It passes what clients do to note, from many goroutines.
func Start(note func(Note)) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		note:   note,
		served: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(silencer{listener})
	}()
	return s, nil
}

// Stop cuts all connections and waits for the end of their goroutines.
func (s *Server) Stop() {
	s.cancel()
	_ = s.http.Close()
	<-s.served
	s.handlers.Wait()
}

// handle passes the request to the scenario and waits for its decision.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.handlers.Done()
	if r.Method == http.MethodOptions {
		allowOrigin(w, r)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	raw, _ := r.Context().Value(connKey{}).(*silentConn)
	request := &Request{Header: r.Header, URL: r.URL, Method: r.Method, raw: raw, decision: make(chan decision)}
	s.note(Note{Request: request})
	select {
	case decide := <-request.decision:
		decide(w, r)
	case <-s.ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// allowOrigin lets pages of all origins use the server.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") == "" {
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "authorization, last-event-id")
	w.Header().Set("Access-Control-Expose-Headers", "retry-after")
}

type connKey struct{}

// A silencer accepts connections that can be silenced.
type silencer struct{ net.Listener }

func (l silencer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &silentConn{Conn: c, closed: make(chan struct{})}, nil
}

// A silentConn is a connection that can stop reading and writing while it stays open.
type silentConn struct {
	net.Conn
	mu        sync.Mutex
	silent    bool
	closed    chan struct{}
	closeOnce sync.Once
}

func (c *silentConn) silence() {
	c.mu.Lock()
	c.silent = true
	c.mu.Unlock()
}

func (c *silentConn) isSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent
}

// Read blocks until the connection is closed when it is silent.
func (c *silentConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.isSilent() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

// Write drops the data when the connection is silent.
func (c *silentConn) Write(p []byte) (int, error) {
	if c.isSilent() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *silentConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var errNotOpen = errors.New("the connection must be open")
