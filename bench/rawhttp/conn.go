// Package rawhttp is an HTTP/1.1 client that needs very little CPU time. It is for load generators
// that share a machine with the measured server. A request is built once and changed in place. A
// response is read into one buffer. The package supports only the features that our servers use:
// keep-alive and Content-Length. A program that does not measure uses pkg/client.
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

// Conn is one keep-alive connection. Only one goroutine may use it at a time.
type Conn struct {
	conn net.Conn
	buf  []byte
	n    int // valid bytes in buf
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

// NewConn returns a Conn on top of a network connection.
func NewConn(conn net.Conn) *Conn { return &Conn{conn: conn, buf: make([]byte, 4096)} }

// Close closes the connection. A concurrent Do returns an error.
func (c *Conn) Close() error { return c.conn.Close() }

// Do sends a request and returns the status and the body of the response. The body is valid until
// the next call of Do. After an error the connection cannot be used again.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	err = c.conn.SetDeadline(time.Now().Add(timeout))
	if err != nil {
		return 0, nil, err
	}

	_, err = c.conn.Write(request)
	if err != nil {
		return 0, nil, err
	}

	c.n = 0
	head := 0 // length of the head with its empty line; 0: not complete
	for head == 0 {
		searched := max(0, c.n-3)
		err := c.readMore()
		if err != nil {
			return 0, nil, err
		}

		i := bytes.Index(c.buf[searched:c.n], []byte("\r\n\r\n"))
		if i >= 0 {
			head = searched + i + 4
		}
	}

	status, length, err := parseHead(c.buf[:head])
	if err != nil {
		return 0, nil, err
	}

	for c.n < head+length {
		err := c.readMore()
		if err != nil {
			return 0, nil, err
		}
	}

	if c.n > head+length {
		return 0, nil, errors.New("the server sent more than one response")
	}
	return status, c.buf[head:c.n], nil
}

// readMore reads the next bytes of the response, and enlarges the buffer if it is full.
func (c *Conn) readMore() error {
	if c.n == len(c.buf) {
		if len(c.buf) >= maxResponse {
			return fmt.Errorf("a response must have at most %d bytes", maxResponse)
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

// parseHead returns the status and the Content-Length of a response.
func parseHead(head []byte) (status, length int, err error) {
	if len(head) < len("HTTP/1.1 200\r\n") || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return 0, 0, errors.New("the response must be HTTP/1.1")
	}

	status, ok := parseDecimal(head[9:12])
	if !ok {
		return 0, 0, errors.New("the response must have a status")
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

		length, ok = parseDecimal(bytes.TrimSpace(line[len(name):]))
		if !ok || length > maxResponse {
			return 0, 0, errors.New("the response must have a valid Content-Length")
		}
	}

	if length < 0 {
		return 0, 0, errors.New("the response must have a Content-Length")
	}
	return status, length, nil
}

func parseDecimal(digits []byte) (n int, ok bool) {
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
