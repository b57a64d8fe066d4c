package ws

import (
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A connection that was just written to waits while its loop is busy, but not
// with a queue that fills up.
func TestABusyLoopLetsFramesGather(t *testing.T) {
	g := newGateway(t, Config{QueueEvents: 40})
	client := g.login("user:u1")
	c, ok := g.hub.clients.list("user:u1")[0].transport.(*conn)
	if !ok {
		t.Fatal("the transport is no connection")
	}
	conns := []*conn{c}
	// A loop of the test's own, that nobody wakes; the connection's stays asleep.
	l, buf := newWriteLoop(), newWriteBuffer()
	push := func(n int) {
		for range n {
			c.session.sendQueue.push(item{frame: protocol.PongFrame})
		}
	}
	check := func(what string, queued, waiting int) {
		t.Helper()
		eventually(t, what, func() bool { // the reader may still be writing the welcome
			n, _ := c.session.sendQueue.waiting()
			return n == queued
		})
		if len(l.waiting) != waiting {
			t.Fatalf("%s: %d connections waiting, want %d", what, len(l.waiting), waiting)
		}
	}
	pass := func() {
		l.load, l.ended = 1, time.Now()
		l.pass(conns, buf)
	}
	push(1)
	pass()
	check("after a long time", 0, 0)
	client.expect("pong")

	c.passed = time.Now().Add(time.Hour) // not to depend on how fast this test is
	push(1)
	pass()
	check("just written to", 1, 1)
	push(2)
	l.due = time.Now()
	l.pass(nil, buf)
	check("the time has come", 0, 0)
	for range 3 {
		client.expect("pong")
	}

	c.passed = time.Now().Add(time.Hour)
	push(10)
	pass()
	check("a queue that fills up", 0, 0)

	c.passed = time.Now()
	push(1)
	l.load, l.ended = 0, time.Now()
	l.pass(conns, buf)
	check("a loop with little to do", 0, 0)
}

func TestOutboxHurries(t *testing.T) {
	frame := []byte(strings.Repeat("x", 10))
	for name, o := range map[string]*sendQueue{
		"frames": {maxItems: 12, maxBytes: 1 << 20},
		"bytes":  {maxItems: 1 << 10, maxBytes: 120},
	} {
		for n, want := range []bool{true, false, true, false, false} { // the first, and the one that makes it a quarter
			if first, ok := o.push(item{frame: frame}); first != want || !ok {
				t.Errorf("%s: push %d: first %t, ok %t", name, n+1, first, ok)
			}
		}
	}
}
