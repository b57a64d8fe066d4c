//go:build linux

package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/bench/feed"
)

type phase uint8

const (
	connecting  phase = iota // waits for the TCP connection
	upgrading                // waits for the answer to the handshake
	subscribing              // waits for the subscription and the missed events
	listening
)

// client is one connection. Only the generator's thread touches it.
type client struct {
	Client
	fd     int
	phase  phase
	opened bool
	events int
	stamp  int64  // of the newest event
	rest   []byte // of a frame that has not arrived as a whole
}

// serve reads or writes as the socket allows. It returns the number of events that came.
func (g *Generator) serve(c *client) (events int, err error) {
	if c.phase == connecting {
		return 0, g.upgrade(c)
	}
	n, err := syscall.Read(c.fd, g.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case n == 0:
		return 0, fmt.Errorf("the server ended the connection: %w", io.EOF)
	}
	data := g.buf[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, data...)
		data = c.rest
	}
	if c.phase == upgrading {
		if data, err = g.upgraded(c, data); err != nil || c.phase == upgrading {
			return 0, err
		}
	}
	rest, events, err := g.take(c, data, time.Now().UnixNano())
	c.events += events
	switch {
	case err != nil:
		return events, err
	case len(rest) == 0:
		c.rest = nil
	case len(c.rest) > 0: // rest is its tail
		c.rest = c.rest[:copy(c.rest, rest)]
	default:
		c.rest = bytes.Clone(rest)
	}
	if c.phase == subscribing && c.opened && c.events >= g.missed {
		c.phase = listening
		g.ready.Add(1)
	}
	return events, nil
}

// upgrade sends the handshake once the connection is established.
func (g *Generator) upgrade(c *client) error {
	if code, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || code != 0 {
		return errors.Join(err, syscall.Errno(code)) //nolint:gosec // an errno
	}
	if err := g.watch(c, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN); err != nil {
		return err
	}
	path, header := g.protocol.Request(&c.Client)
	c.phase = upgrading
	return g.send(c, fmt.Appendf(g.scratch[:0], "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", path, g.addr, header))
}

// upgraded reads the answer to the handshake and opens the subscription. It returns the bytes after
// the answer.
func (g *Generator) upgraded(c *client, data []byte) ([]byte, error) {
	head, rest, whole := bytes.Cut(data, []byte("\r\n\r\n"))
	switch {
	case !whole:
		c.rest = bytes.Clone(data)
		return nil, nil
	case !bytes.HasPrefix(head, []byte("HTTP/1.1 101")):
		return nil, fmt.Errorf("the handshake was answered %.200q", data)
	}
	c.phase, c.rest = subscribing, nil
	return bytes.Clone(rest), g.send(c, frame(g.scratch[:0], opText, g.protocol.Hello(&c.Client)))
}

// take handles all complete frames. It returns the rest of the data.
func (g *Generator) take(c *client, data []byte, now int64) (rest []byte, events int, err error) {
	for {
		op, payload, rest, ok, err := next(data)
		if err != nil || !ok {
			return rest, events, err
		}
		data = rest
		switch op {
		case opText:
			n, err := g.message(c, payload, now)
			events += n
			if err != nil {
				return nil, events, err
			}
		case opPing:
			if err := g.send(c, frame(g.scratch[:0], opPong, string(payload))); err != nil {
				return nil, events, err
			}
		case opClose:
			return nil, events, fmt.Errorf("the server closed: %q", payload)
		}
	}
}

// message counts the events in a message.
func (g *Generator) message(c *client, message []byte, now int64) (events int, err error) {
	latency := g.latency.Load()
	for rest := message; ; events++ {
		i := bytes.Index(rest, feed.Marker)
		if i < 0 {
			break
		}
		rest = rest[i+len(feed.Marker):]
		stamp, err := strconv.ParseInt(string(rest[:min(len(rest), feed.StampDigits)]), 10, 64)
		if err != nil {
			return events, fmt.Errorf("an event without a stamp: %w", err)
		}
		if stamp <= c.stamp {
			return events, errors.New("an event came twice or out of order")
		}
		c.stamp = stamp
		latency.Add(time.Duration(now - stamp))
	}
	if c.phase == listening && events > 0 {
		return events, nil
	}
	if g.protocol.Failed(message) {
		return events, fmt.Errorf("the server sent %.300q", message)
	}
	c.opened = c.opened || g.protocol.Opened(message)
	if pong := g.protocol.Pong(message); pong != "" {
		return events, g.send(c, frame(g.scratch[:0], opText, pong))
	}
	return events, nil
}

// send writes a short message. The socket's buffer always has room for it.
func (g *Generator) send(c *client, p []byte) error {
	g.scratch = p
	n, err := syscall.Write(c.fd, p)
	if err != nil || n < len(p) {
		return fmt.Errorf("write of %d bytes ended after %d: %w", len(p), n, errors.Join(err, io.ErrShortWrite))
	}
	return nil
}
