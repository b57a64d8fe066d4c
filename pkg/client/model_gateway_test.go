package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// fault is what happens to an event frame.
type fault int

const (
	faultNone   fault = iota
	faultDrop         // the frame is lost
	faultRepeat       // the frame comes twice
	faultSwap         // the frame comes after the next one
)

// modelGateway is a gateway in memory that does what a gateway may do, and worse.
type modelGateway struct {
	ledger *modelLedger

	mu          sync.Mutex // protects the fields below and the ledger
	conns       map[*modelConn]bool
	refuses     bool // handshakes fail
	noHistory   bool // resumes are answered with a resync
	noSnapshots bool // subscribes are refused
	faults      []fault
	frames      int // that clients sent
}

// modelConn is a connection to a modelGateway. It is the client's socket.
type modelConn struct {
	gateway *modelGateway
	subs    map[string]*modelSub
	oldSubs []string
	shown   []string // event frames since the last barrier of their subscription

	out    chan string
	closed chan struct{}
	end    error
	silent bool
	paused bool
	queued []string // while paused
}

type modelSub struct {
	name     string
	accounts []string
	heldOnly bool   // a filter
	swapped  string // a frame that waits for the next one
}

// dial implements dialFunc.
func (g *modelGateway) dial(_ context.Context, _ dialRequest) (socket, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuses {
		return nil, errors.New("connection refused")
	}
	c := &modelConn{
		gateway: g,
		subs:    map[string]*modelSub{},
		out:     make(chan string, 1<<9),
		closed:  make(chan struct{}),
	}
	g.conns[c] = true
	c.send(`{"op":"welcome","connection":"c","gateway":"g","heartbeatSeconds":25,"expiresAt":"2030-01-01T00:00:00.000Z"}`)
	return c, nil
}

// send sends a message. The caller holds mu.
func (c *modelConn) send(frames ...string) {
	message := strings.Join(frames, "\n")
	switch {
	case c.silent:
	case c.paused:
		c.queued = append(c.queued, message)
	default:
		select {
		case c.out <- message:
		default:
			c.finish(io.ErrShortBuffer) // as a gateway does with a slow client
		}
	}
}

// Read implements socket.
func (c *modelConn) Read(ctx context.Context) ([]byte, error) {
	select {
	case m := <-c.out:
		return []byte(m), nil
	default:
	}
	select {
	case m := <-c.out:
		return []byte(m), nil
	case <-c.closed:
		return nil, c.end
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements socket.
func (c *modelConn) Write(_ context.Context, message []byte) error {
	c.gateway.mu.Lock()
	defer c.gateway.mu.Unlock()
	if c.end != nil {
		return c.end
	}
	c.gateway.frames++
	if !c.silent {
		c.handle(message)
	}
	return nil
}

// Close implements socket.
func (c *modelConn) Close() { c.CloseNow() }

// CloseNow implements socket.
func (c *modelConn) CloseNow() {
	c.gateway.mu.Lock()
	defer c.gateway.mu.Unlock()
	c.finish(io.EOF)
}

// finish ends the connection. The caller holds mu.
func (c *modelConn) finish(err error) {
	if c.end != nil {
		return
	}
	c.end = err
	close(c.closed)
	delete(c.gateway.conns, c)
}

// handle handles a frame of the client. The caller holds mu.
func (c *modelConn) handle(message []byte) {
	var f subscribeFrame
	err := json.Unmarshal(message, &f)
	if err != nil {
		panic(err)
	}
	switch f.Op {
	case "ping":
		c.send(`{"op":"pong"}`)
	case "auth":
		c.send(`{"op":"welcome","connection":"c","gateway":"g","heartbeatSeconds":25,"expiresAt":"2030-01-01T00:00:00.000Z"}`)
	case "unsubscribe":
		delete(c.subs, f.Sub)
		c.oldSubs = append(c.oldSubs, f.Sub)
		c.send(`{"op":"unsubscribed","sub":"` + f.Sub + `"}`)
	case "subscribe":
		c.subscribe(&f)
	}
}

func (c *modelConn) subscribe(f *subscribeFrame) {
	g := c.gateway
	if g.noSnapshots {
		c.send(`{"op":"error","sub":"` + f.Sub + `","code":"snapshot_unavailable","message":"later"}`)
		return
	}
	s := &modelSub{name: f.Sub, accounts: f.Accounts, heldOnly: len(f.Types) > 0}
	c.subs[f.Sub] = s

	var begin []string
	var rest []string
	for _, account := range f.Accounts {
		entry, more := c.beginAccount(s, account, f)
		begin = append(begin, entry)
		rest = append(rest, more...)
	}
	c.send(append([]string{fmt.Sprintf(`{"op":"subscribed","sub":%q,"accounts":[%s]}`, f.Sub, strings.Join(begin, ","))}, rest...)...)
}

// beginAccount returns the account's entry of the frame subscribed, and the frames behind it.
func (c *modelConn) beginAccount(s *modelSub, account string, f *subscribeFrame) (entry string, rest []string) {
	g := c.gateway
	head := g.ledger.head(account)
	after, resumes := f.After[account]
	switch {
	case resumes && !g.ledger.has(account, after, f.Chain[account]):
		rest = []string{c.resyncFrame(s, account, HistoryChanged)}
	case resumes && g.noHistory:
		rest = []string{c.resyncFrame(s, account, HistoryUnavailable)}
	case resumes:
		for _, e := range g.ledger.history[account][after+1:] {
			if e.held || !s.heldOnly {
				rest = append(rest, e.frame(s.name))
			}
		}
		return fmt.Sprintf(`{"account":%q,"seq":%d,"chain":%q,"recovered":true}`, account, after, f.Chain[account]), rest
	}
	snapshot := encodeFrame(head.balance())
	return fmt.Sprintf(`{"account":%q,"seq":%d,"chain":%q,"recovered":false,"snapshot":%s}`, account, head.seq, head.chain, snapshot), rest
}

// resyncFrame returns the frame for a resync to the head. It is a barrier: what was shown before does
// not come again, as on a TCP connection.
func (c *modelConn) resyncFrame(s *modelSub, account string, reason ResyncReason) string {
	s.swapped = ""
	c.shown = slices.DeleteFunc(c.shown, func(frame string) bool { return strings.Contains(frame, `"sub":"`+s.name+`"`) })
	head := c.gateway.ledger.head(account)
	return fmt.Sprintf(`{"op":"resync","sub":%q,"account":%q,"seq":%d,"chain":%q,"snapshot":%s,"reason":%q}`,
		s.name, account, head.seq, head.chain, encodeFrame(head.balance()), reason)
}

// deliver sends an event to the subscriptions, with faults. The caller holds mu.
func (g *modelGateway) deliver(e *modelEvent) {
	for c := range g.conns {
		for _, s := range c.subs {
			if slices.Contains(s.accounts, e.account) && (e.held || !s.heldOnly) {
				c.deliver(s, e.frame(s.name))
			}
		}
	}
}

func (c *modelConn) deliver(s *modelSub, frame string) {
	f := faultNone
	if len(c.gateway.faults) > 0 {
		f = c.gateway.faults[0]
		c.gateway.faults = c.gateway.faults[1:]
	}
	if s.heldOnly && f != faultRepeat { // a filter makes holes, which nobody can see
		f = faultNone
	}
	c.shown = append(c.shown, frame)
	before := s.swapped
	s.swapped = ""
	switch f {
	case faultDrop:
	case faultRepeat:
		c.send(frame, frame)
	case faultSwap:
		s.swapped = frame
	default:
		c.send(frame)
	}
	if before != "" {
		c.send(before)
	}
}

// resyncAll replaces the state of an account on all connections. The caller holds mu.
func (g *modelGateway) resyncAll(account string, reason ResyncReason) {
	for c := range g.conns {
		for _, s := range c.subs {
			if slices.Contains(s.accounts, account) {
				c.send(c.resyncFrame(s, account, reason))
			}
		}
	}
}

// endAll ends all connections, with a close code or, if code is 0, with a cut.
func (g *modelGateway) endAll(code int) {
	for c := range g.conns {
		if code == 0 {
			c.finish(io.ErrUnexpectedEOF)
			continue
		}
		c.finish(websocket.CloseError{Code: websocket.StatusCode(code)})
	}
}
