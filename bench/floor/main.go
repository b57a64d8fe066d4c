// Command floor is the least that any server must do: for each batch of the
// streams it writes the prepared frames to the clients' sockets, one write(2)
// each, in one loop. It has no queues and no locks for each client, checks no
// tokens, filters nothing, sends no pings, and a slow client holds up all others:
// nobody could run it, and nobody can be faster.
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"

	"github.com/redroomrewards/realtime/bench/refserver"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/tail"
)

func main() {
	refserver.Main("floor", flag.NewFlagSet("floor", flag.ExitOnError), func(*auth.Verifier) (refserver.Server, error) {
		return &floor{accounts: map[string]*account{}}, nil
	})
}

// floor knows for each account who listens and what was last.
type floor struct {
	mu       sync.Mutex // protects what follows
	accounts map[string]*account
	touched  []*client // by the batch at hand
}

type account struct {
	clients []*client
	seq     int64
	last    [][]byte // the newest frames, as they go over the wire
}

const keptFrames = 16

type client struct {
	conn    net.Conn
	fd      int
	pending []byte
}

func (f *floor) account(name string) *account {
	a := f.accounts[name]
	if a == nil {
		a = &account{}
		f.accounts[name] = a
	}
	return a
}

// Deliver implements refserver.Server.
func (f *floor) Deliver(b tail.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		a := f.account(d.Account)
		if d.Seq <= a.seq {
			continue
		}
		frame := frameOf(d)
		a.seq = d.Seq
		if a.last = append(a.last, frame); len(a.last) > keptFrames {
			a.last = a.last[1:]
		}
		for _, c := range a.clients {
			if len(c.pending) == 0 {
				f.touched = append(f.touched, c)
			}
			c.pending = append(c.pending, frame...)
		}
	}
	for _, c := range f.touched {
		c.flush()
	}
	f.touched = f.touched[:0]
}

// flush writes what is pending. What the socket does not take at once is waited
// for, in the way of everybody.
func (c *client) flush() {
	n, err := syscall.Write(c.fd, c.pending)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		n = len(c.pending) // gone
	}
	if n = max(n, 0); n < len(c.pending) {
		_, _ = c.conn.Write(c.pending[n:])
	}
	c.pending = c.pending[:0]
}

// subscribe answers with the frames after that seq, or none when it is negative.
func (f *floor) subscribe(c *client, name string, after int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.account(name)
	from := len(a.last)
	if after >= 0 {
		from = max(0, from-int(a.seq-after))
	}
	c.pending = appendMessage(c.pending, []byte(`{"op":"subscribed","sub":"wallet"}`))
	for _, frame := range a.last[from:] {
		c.pending = append(c.pending, frame...)
	}
	c.flush()
	a.clients = append(a.clients, c)
}

func (f *floor) leave(c *client, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.account(name)
	for i, other := range a.clients {
		if other == c {
			a.clients = append(a.clients[:i], a.clients[i+1:]...)
			return
		}
	}
}

func frameOf(d *bus.Delivery) []byte {
	b := append([]byte(`{"op":"event","sub":"wallet","account":"`), d.Account...)
	b = strconv.AppendInt(append(b, `","seq":`...), d.Seq, 10)
	b = append(append(append(b, `,"event":`...), d.ForAccount()...), '}')
	return appendMessage(nil, b)
}

// appendMessage adds the header of a server's text frame.
func appendMessage(dst, payload []byte) []byte {
	dst = append(dst, 0x81)
	if n := len(payload); n < 126 {
		dst = append(dst, byte(n))
	} else {
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n)) //nolint:gosec // events have some hundred bytes
	}
	return append(dst, payload...)
}

// Handle implements refserver.Server.
func (f *floor) Handle(mux *http.ServeMux) { mux.HandleFunc("GET /v1/ws", f.serve) }
