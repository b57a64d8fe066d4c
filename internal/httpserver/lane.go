package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A lane serves plain requests (see plainRequest) on their connections' own goroutines,
// and hands a connection over to net/http, for good, as soon as its next request is
// not plain. Handlers cannot tell the difference but for this: what they write leaves
// when they return, and a client that goes away does not end its request's context.
//
// What that is for: net/http has a second goroutine look out for the client's end
// during each request, several buffers, and some twenty allocations. That was a quarter of
// the core's time for a hold.
type lane struct {
	net.Listener // of all connections
	handler      http.Handler
	cfg          Config
	template     *http.Request // with the context of all requests

	others chan accepted // for net/http
	closed chan struct{} // no more of them
	close  sync.Once
	wg     sync.WaitGroup // run, and connections while they are plain
	ending atomic.Bool    // no request is begun any more

	mu    sync.Mutex // protects conns
	conns map[*laneConn]struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

// newLane takes ln over: use the lane in its place, and end it with Close, stop and cut.
func newLane(base context.Context, ln net.Listener, h http.Handler, cfg Config) *lane {
	l := &lane{
		Listener: ln, handler: h, cfg: cfg, template: (&http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(base),
		others: make(chan accepted), closed: make(chan struct{}), conns: make(map[*laneConn]struct{}),
	}
	l.wg.Go(l.run)
	return l
}

// run accepts connections until the lane is closed. Errors go to net/http, which knows
// how to wait when there are too many open files.
func (l *lane) run() {
	for {
		c, err := l.Listener.Accept()
		if tcp, ok := c.(*net.TCPConn); ok && err == nil {
			l.begin(tcp)
			continue
		}
		if !l.handOver(c, err) {
			if c != nil {
				_ = c.Close()
			}
			return
		}
	}
}

func (l *lane) begin(tcp *net.TCPConn) {
	c := &laneConn{conn: tcp, lane: l, template: *l.template, answer: answer{header: make(http.Header)}}
	c.template.RemoteAddr = tcp.RemoteAddr().String()
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	l.wg.Go(func() {
		kept := c.serve()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		if kept {
			_ = tcp.SetDeadline(time.Time{}) // net/http sets its own
			kept = l.handOver(&resumedConn{TCPConn: tcp, ahead: c.in, late: c.late}, nil)
		}
		if !kept {
			_ = tcp.Close()
		}
	})
}

func (l *lane) handOver(c net.Conn, err error) bool {
	select {
	case l.others <- accepted{c, err}:
		return true
	case <-l.closed:
		return false
	}
}

// Accept is net/http's: it gets what is not plain.
func (l *lane) Accept() (net.Conn, error) {
	select {
	case a := <-l.others:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends run and Accept. Requests under way go on.
func (l *lane) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// end lets no further request begin.
func (l *lane) end() {
	l.ending.Store(true)
	l.each(func(c *laneConn) {
		if c.idle.Load() {
			_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes it
		}
	})
}

// wait waits for requests under way, until ctx ends. Call it after end and Close.
func (l *lane) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends with cut at the latest
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cut ends all connections and waits for their handlers.
func (l *lane) cut() {
	l.each(func(c *laneConn) { _ = c.conn.Close() })
	l.wg.Wait()
}

func (l *lane) each(do func(*laneConn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		do(c)
	}
}

// laneConn is one connection.
type laneConn struct {
	conn     *net.TCPConn
	lane     *lane
	template http.Request
	idle     atomic.Bool // between requests
	in       []byte      // what was read and belongs to no finished request
	lines    int         // bytes of empty lines that may still come before the next request
	late     bool        // a read timed out
	answer   answer
	out      []byte

	waits   phase     // what readBy is for
	readBy  time.Time // when a read gives up
	writeBy time.Time // when a write does: at least half of WriteTimeout from its begin
}

const (
	laneBuffer = 4 << 10  // what a connection begins with
	laneKept   = 64 << 10 // the largest buffer that it keeps between requests: services send batches again and again
	laneHead   = 16 << 10 // the largest head of a plain request
	laneBody   = 16 << 10 // the largest body: it is read before its sender is known
	laneLines  = 2        // empty lines that may follow a POST's body, as old clients send (RFC 9112 section 2.2)
)

// phase is what a connection waits for.
type phase int

const (
	nothing    phase = iota
	first            // the first request
	next             // another one
	restOfHead       // of a request that has begun
	restOfBody
)

func (l *lane) patience(p phase) time.Duration {
	switch p {
	case next:
		return l.cfg.IdleTimeout
	case restOfBody:
		return l.cfg.ReadTimeout
	default:
		return l.cfg.ReadHeaderTimeout
	}
}

// serve answers plain requests. kept means that net/http shall go on with the
// connection, and with what c.in has.
func (c *laneConn) serve() (kept bool) {
	between := first
	for {
		c.skipLines()
		request, v := parsePlain(c.in, c.lane.cfg.Plain, laneHead, laneBody)
		waits := between
		switch {
		case v == unusual:
			return true
		case v == plain:
			if !c.handle(&request) {
				return false
			}
			if c.lines = 0; request.method == http.MethodPost {
				c.lines = len("\r\n") * laneLines
			}
			c.consume(request.bodyEnds)
			between = next
			continue
		case request.bodyBegins > 0:
			waits = restOfBody
		case len(c.in) > 0:
			waits = restOfHead
		}
		if !c.read(waits) {
			return waits > next // half a request: net/http knows what to say to that
		}
	}
}

// read waits for more. The deadline is set when a wait of another kind begins, so that bytes one
// by one do not move it; between requests also when half of it is over.
func (c *laneConn) read(p phase) bool {
	now, wait := time.Now(), c.lane.patience(p)
	if p != c.waits || (p == next && c.readBy.Sub(now) < wait/2) {
		c.waits, c.readBy = p, now.Add(wait)
		if c.conn.SetReadDeadline(c.readBy) != nil {
			return false
		}
	}
	if c.in == nil {
		c.in = make([]byte, 0, laneBuffer)
	} else if len(c.in) == cap(c.in) {
		c.in = slices.Grow(c.in, len(c.in))
	}
	if p <= next {
		c.idle.Store(true)
		defer c.idle.Store(false)
		if c.lane.ending.Load() {
			return false
		}
	}
	n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	c.late = errors.Is(err, os.ErrDeadlineExceeded)
	return n > 0 && err == nil
}

// skipLines removes empty lines before a request.
func (c *laneConn) skipLines() {
	n := 0
	for n < min(c.lines, len(c.in)) && (c.in[n] == '\r' || c.in[n] == '\n') {
		n++
	}
	if n > 0 {
		c.lines -= n
		c.consume(n)
	}
}

// consume removes a request that is done.
func (c *laneConn) consume(n int) {
	left := copy(c.in, c.in[n:])
	if c.in = c.in[:left]; left == 0 && cap(c.in) > laneKept {
		c.in = nil
	}
	if c.waits > next {
		c.waits = nothing
	}
}

// handle answers one request, and tells whether the connection is good for more.
func (c *laneConn) handle(p *plainRequest) (good bool) {
	c.answer.reset()
	r, body := p.request(&c.template, c.in)
	defer func() {
		_ = body.Close() // what it reads is the next request's soon
		if v := recover(); v != nil {
			good = false
			if v != http.ErrAbortHandler { //nolint:errorlint // as net/http compares
				c.lane.cfg.Logger.Error("panic in a handler", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
		}
	}()
	c.lane.handler.ServeHTTP(&c.answer, r)
	return c.send()
}

// send writes the answer.
func (c *laneConn) send() bool {
	last := c.lane.ending.Load()
	now := time.Now()
	c.out = c.answer.appendTo(c.out[:0], now, last)
	if wait := c.lane.cfg.WriteTimeout; c.writeBy.Sub(now) < wait/2 {
		c.writeBy = now.Add(wait)
		if c.conn.SetWriteDeadline(c.writeBy) != nil {
			return false
		}
	}
	_, err := c.conn.Write(c.out)
	if cap(c.out) > laneKept {
		c.out, c.answer.body = nil, nil
	}
	return err == nil && !last
}

// answer gathers what a handler says. It implements http.ResponseWriter.
type answer struct {
	header http.Header
	status int // 0: not said yet
	body   []byte
}

func (a *answer) reset() {
	clear(a.header)
	a.status, a.body = 0, a.body[:0]
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// appendTo writes it all; last says that the connection ends with it.
func (a *answer) appendTo(b []byte, now time.Time, last bool) []byte {
	a.WriteHeader(http.StatusOK)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	var names [8]string
	sorted := names[:0]
	for name := range a.header {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		if name == "Content-Length" || name == "Date" || name == "Connection" {
			continue
		}
		for _, value := range a.header[name] {
			b = appendHeader(b, name, value)
		}
	}
	if last {
		b = appendHeader(b, "Connection", "close")
	}
	b = append(b, "\r\nDate: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(a.body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, a.body...)
}

func appendHeader(b []byte, name, value string) []byte {
	b = append(b, "\r\n"...)
	b = append(b, name...)
	b = append(b, ": "...)
	begin := len(b)
	b = append(b, value...)
	for i := begin; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' {
			b[i] = ' ' // as net/http does: a value is no place for another header
		}
	}
	return b
}

// resumedConn is a connection of which something has been read already.
type resumedConn struct {
	*net.TCPConn
	ahead []byte
	late  bool // what is missing had its time
}

// Read implements net.Conn.
func (c *resumedConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		if c.late {
			return 0, os.ErrDeadlineExceeded
		}
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil
	}
	return n, nil
}
