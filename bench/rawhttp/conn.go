// Package rawhttp is an HTTP/1.1 client that costs next to nothing, for load
// generators that share a machine with what they measure: requests are built
// once and patched in place, a response is read into one buffer, of which status
// and body are cut out. It knows what our servers send: keep-alive and
// Content-Length.
package rawhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// timeout bounds one request with its response.
const timeout = 30 * time.Second

// maxResponse bounds a response's head and body together.
const maxResponse = 1 << 20

// Conn is one keep-alive connection, for one goroutine.
type Conn struct {
	conn net.Conn
	buf  []byte
	n    int // bytes of buf that were read
}

// Dial connects to host:port.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return NewConn(conn), nil
}

// NewConn speaks HTTP over a connection.
func NewConn(conn net.Conn) *Conn { return &Conn{conn: conn, buf: make([]byte, 4096)} }

// Close ends the connection, and a Do that is waiting on it.
func (c *Conn) Close() error { return c.conn.Close() }

// Do sends a request and returns the response's status and body. The body is
// valid until the next Do. After an error the connection is of no more use.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, err
	}
	c.n = 0
	head := 0 // length of the head with its empty line; 0: not complete yet
	for head == 0 {
		searched := max(0, c.n-3)
		if err := c.fill(); err != nil {
			return 0, nil, err
		}
		if i := bytes.Index(c.buf[searched:c.n], []byte("\r\n\r\n")); i >= 0 {
			head = searched + i + 4
		}
	}
	status, length, err := parseHead(c.buf[:head])
	if err != nil {
		return 0, nil, err
	}
	for c.n < head+length {
		if err := c.fill(); err != nil {
			return 0, nil, err
		}
	}
	if c.n > head+length {
		return 0, nil, errors.New("the server sent more than one response")
	}
	return status, c.buf[head:c.n], nil
}

func (c *Conn) fill() error {
	if c.n == len(c.buf) {
		if len(c.buf) >= maxResponse {
			return fmt.Errorf("a response has more than %d bytes", maxResponse)
		}
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.conn.Read(c.buf[c.n:])
	c.n += n
	if n > 0 {
		return nil
	}
	return err
}

// parseHead takes status and Content-Length out of a response's head.
func parseHead(head []byte) (status, length int, err error) {
	if len(head) < len("HTTP/1.1 200\r\n") || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return 0, 0, errors.New("no HTTP/1.1 response")
	}
	status, ok := decimal(head[9:12])
	if !ok {
		return 0, 0, errors.New("a response without a status")
	}
	length = -1
	if status == 204 || status == 304 {
		length = 0
	}
	for line := range bytes.Lines(head) {
		const name = "content-length:"
		if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
			continue
		}
		if length, ok = decimal(bytes.TrimSpace(line[len(name):])); !ok || length > maxResponse {
			return 0, 0, errors.New("a response with a bad Content-Length")
		}
	}
	if length < 0 {
		return 0, 0, errors.New("a response without Content-Length")
	}
	return status, length, nil
}

func decimal(digits []byte) (n int, ok bool) {
	if len(digits) == 0 || len(digits) > 9 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
