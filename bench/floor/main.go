// Command floor is a server that does only the work that no server can avoid. For each batch of the
// streams it writes the prepared frames to the clients' sockets, in one loop, with one write(2) for
// each client. It has no queues and no locks for clients, checks no tokens, filters nothing and
// sends no pings, and one slow client blocks all others. It is not fit for production. It shows the
// lower bound of the cost.
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

// floor is the server.
type floor struct {
	mu       sync.Mutex // protects the fields below
	accounts map[string]*account
	touched  []*client // clients with pending frames of this batch
}

type account struct {
	clients []*client
	seq     int64
	last    [][]byte // the newest frames, in their wire format
}

// maxLast is the number of frames that an account keeps.
const maxLast = 16

type client struct {
	conn    net.Conn
	fd      int
	pending []byte
}

// findAccount adds the account if it is missing.
func (f *floor) findAccount(name string) *account {
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
		a := f.findAccount(d.Account)
		if d.Seq <= a.seq {
			continue
		}

		frame := eventFrame(d)
		a.seq = d.Seq
		a.last = append(a.last, frame)
		if len(a.last) > maxLast {
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
		c.writePending()
	}

	f.touched = f.touched[:0]
}

// writePending writes the pending frames. If the socket is full, it waits, and all other clients
// wait as well.
func (c *client) writePending() {
	n, err := syscall.Write(c.fd, c.pending)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		n = len(c.pending) // the client has disconnected
	}

	n = max(n, 0)
	if n < len(c.pending) {
		_, _ = c.conn.Write(c.pending[n:])
	}

	c.pending = c.pending[:0]
}

// addClient confirms a subscription and writes the kept frames after the seq `after`. If it is
// negative, there are no frames.
func (f *floor) addClient(c *client, name string, after int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.findAccount(name)
	from := len(a.last)
	if after >= 0 {
		from = max(0, from-int(a.seq-after))
	}

	c.pending = appendMessage(c.pending, []byte(`{"op":"subscribed","sub":"wallet"}`))
	for _, frame := range a.last[from:] {
		c.pending = append(c.pending, frame...)
	}

	c.writePending()
	a.clients = append(a.clients, c)
}

func (f *floor) removeClient(c *client, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.findAccount(name)
	for i, other := range a.clients {
		if other == c {
			a.clients = append(a.clients[:i], a.clients[i+1:]...)
			return
		}
	}
}

// eventFrame returns the frame of an event.
func eventFrame(d *bus.Delivery) []byte {
	b := append([]byte(`{"op":"event","sub":"wallet","account":"`), d.Account...)
	b = strconv.AppendInt(append(b, `","seq":`...), d.Seq, 10)
	b = append(append(append(b, `,"event":`...), d.ForAccount()...), '}')
	return appendMessage(nil, b)
}

// appendMessage appends a text frame of a server.
func appendMessage(dst, payload []byte) []byte {
	dst = append(dst, 0x81)
	if n := len(payload); n < 126 {
		dst = append(dst, byte(n))
	} else {
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n)) //nolint:gosec // an event has a few hundred bytes
	}
	return append(dst, payload...)
}

// Handle implements refserver.Server.
func (f *floor) Handle(mux *http.ServeMux) { mux.HandleFunc("GET /v1/ws", f.acceptClient) }
