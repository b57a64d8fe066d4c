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

// client is one connection. Only the thread of the generator uses it.
type client struct {
	Client
	fd         int
	phase      phase
	subscribed bool // the subscription is confirmed
	events     int
	stamp      int64  // stamp of the newest event
	rest       []byte // the beginning of an incomplete frame
}

// handleReady reads or writes when epoll reports that the socket is ready. It returns the number of
// events that arrived.
func (g *Generator) handleReady(c *client) (events int, err error) {
	if c.phase == connecting {
		return 0, g.sendHandshake(c)
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
		data, err = g.readHandshake(c, data)
		if err != nil || c.phase == upgrading {
			return 0, err
		}
	}

	rest, events, err := g.handleFrames(c, data, time.Now().UnixNano())
	c.events += events
	switch {
	case err != nil:
		return events, err
	case len(rest) == 0:
		c.rest = nil
	case len(c.rest) > 0: // rest is the end of c.rest
		c.rest = c.rest[:copy(c.rest, rest)]
	default:
		c.rest = bytes.Clone(rest)
	}

	isComplete := c.subscribed && c.events >= g.missed
	if c.phase == subscribing && isComplete {
		c.phase = listening
		g.ready.Add(1)
	}
	return events, nil
}

// sendHandshake sends the handshake when the connection is established.
func (g *Generator) sendHandshake(c *client) error {
	code, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil || code != 0 {
		return errors.Join(err, syscall.Errno(code)) //nolint:gosec // an errno
	}

	err = g.setInterest(c, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN)
	if err != nil {
		return err
	}

	path, header := g.protocol.Request(&c.Client)
	c.phase = upgrading
	return g.sendBytes(c, fmt.Appendf(g.scratch[:0], "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", path, g.addr, header))
}

// readHandshake reads the answer to the handshake and opens the subscription. It returns the bytes
// after the answer.
func (g *Generator) readHandshake(c *client, data []byte) ([]byte, error) {
	head, rest, isComplete := bytes.Cut(data, []byte("\r\n\r\n"))
	if !isComplete {
		c.rest = bytes.Clone(data)
		return nil, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
		return nil, fmt.Errorf("the handshake was answered with %.200q", data)
	}

	c.phase = subscribing
	c.rest = nil
	return bytes.Clone(rest), g.sendBytes(c,
		appendFrame(g.scratch[:0], opText, g.protocol.Hello(&c.Client)))
}

// handleFrames handles all complete frames. It returns the rest of the data.
func (g *Generator) handleFrames(c *client, data []byte, now int64) (rest []byte, events int, err error) {
	for {
		op, payload, rest, ok, err := nextFrame(data)
		if err != nil || !ok {
			return rest, events, err
		}

		data = rest
		switch op {
		case opText:
			n, err := g.handleMessage(c, payload, now)
			events += n
			if err != nil {
				return nil, events, err
			}
		case opPing:
			err := g.sendBytes(c, appendFrame(g.scratch[:0], opPong, string(payload)))
			if err != nil {
				return nil, events, err
			}
		case opClose:
			return nil, events, fmt.Errorf("the server closed the connection: %q", payload)
		}
	}
}

// handleMessage counts the events in a message, checks their order and records their latency.
func (g *Generator) handleMessage(c *client, message []byte, now int64) (events int, err error) {
	latency := g.latency.Load()
	for rest := message; ; events++ {
		i := bytes.Index(rest, feed.Marker)
		if i < 0 {
			break
		}

		rest = rest[i+len(feed.Marker):]
		stamp, err := strconv.ParseInt(string(rest[:min(len(rest), feed.StampDigits)]), 10, 64)
		if err != nil {
			return events, fmt.Errorf("an event must have a stamp: %w", err)
		}
		if stamp <= c.stamp {
			return events, errors.New("an event arrived twice or out of order")
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
	if g.protocol.Opened(message) {
		c.subscribed = true
	}

	pong := g.protocol.Pong(message)
	if pong != "" {
		return events, g.sendBytes(c, appendFrame(g.scratch[:0], opText, pong))
	}
	return events, nil
}

// sendBytes writes a short message, which always fits into the buffer of the socket.
func (g *Generator) sendBytes(c *client, p []byte) error {
	g.scratch = p
	n, err := syscall.Write(c.fd, p)
	if err != nil || n < len(p) {
		return fmt.Errorf("write of %d bytes ended after %d: %w",
			len(p), n, errors.Join(err, io.ErrShortWrite))
	}
	return nil
}
