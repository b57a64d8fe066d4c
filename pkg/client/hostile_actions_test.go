package client

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// hostileAction is something that may happen to a client. do is called with the gateway's mu held.
type hostileAction struct {
	name string
	do   func(r *hostileRun)
}

// Events come often, so they stand here more than once.
var hostileActions = []hostileAction{
	{"append events", (*hostileRun).appendEvents},
	{"append events, again", (*hostileRun).appendEvents},
	{"append events with faults", (*hostileRun).appendWithFaults},
	{"append events with faults, again", (*hostileRun).appendWithFaults},
	{"change the history", (*hostileRun).changeHistory},
	{"change the history and tell nobody", (*hostileRun).changeUntold},
	{"resync", (*hostileRun).resync},
	{"cut", func(r *hostileRun) { r.gateway.endAll(0) }},
	{"close", (*hostileRun).closeAll},
	{"drain", (*hostileRun).drain},
	{"refuse handshakes", func(r *hostileRun) { r.gateway.refuses = !r.gateway.refuses }},
	{"lose the history", func(r *hostileRun) { r.gateway.noHistory = !r.gateway.noHistory }},
	{"lose the snapshots", func(r *hostileRun) { r.gateway.noSnapshots = !r.gateway.noSnapshots }},
	{"go silent", (*hostileRun).goSilent},
	{"pause", (*hostileRun).pause},
	{"repeat old frames", (*hostileRun).repeatOld},
	{"read", (*hostileRun).read},
	{"read, again", (*hostileRun).read},
	{"wait", (*hostileRun).wait},
	{"wait, again", (*hostileRun).wait},
	{"expire the token", (*hostileRun).expireToken},
}

func (r *hostileRun) drawAccount() string {
	return rapid.SampledFrom([]string{accountA, accountB}).Draw(r.T, "account")
}

func (r *hostileRun) appendEvents() {
	account := r.drawAccount()
	for range rapid.IntRange(1, 6).Draw(r.T, "events") {
		r.gateway.deliver(r.gateway.ledger.appendEvent(account, rapid.Bool().Draw(r.T, "held")))
	}
}

func (r *hostileRun) appendWithFaults() {
	fault := rapid.SampledFrom([]fault{faultNone, faultDrop, faultRepeat, faultSwap})
	r.gateway.faults = rapid.SliceOfN(fault, 1, 12).Draw(r.T, "faults")
	r.appendEvents()
	r.gateway.faults = nil
}

// changeHistory makes the ledger go back and continue. Connected clients are told, as by a gateway.
func (r *hostileRun) changeHistory() {
	g := r.gateway
	account := r.drawAccount()
	head := g.ledger.head(account)
	if head.seq == 0 {
		return
	}
	g.ledger.goBack(account, rapid.Int64Range(0, head.seq-1).Draw(r.T, "back to"))
	if rapid.Bool().Draw(r.T, "while connected") {
		g.resyncAll(account, HistoryChanged)
	} else {
		g.endAll(0)
	}
	for range rapid.IntRange(0, 6).Draw(r.T, "new events") {
		g.deliver(g.ledger.appendEvent(account, rapid.Bool().Draw(r.T, "held")))
	}
}

// changeUntold makes the ledger go back and continue to the same seq. Only the chains tell. A reader
// with a filter may not get an event with a seq that it knows, so it is told.
func (r *hostileRun) changeUntold() {
	g := r.gateway
	account := r.drawAccount()
	head := g.ledger.head(account)
	if head.seq == 0 {
		return
	}
	g.ledger.goBack(account, rapid.Int64Range(0, head.seq-1).Draw(r.T, "back to"))
	for c := range g.conns {
		for _, s := range c.subs {
			frame := c.resyncFrame(s, account, HistoryChanged)
			if s.heldOnly && slices.Contains(s.accounts, account) {
				c.send(frame)
			}
		}
	}
	for g.ledger.head(account).seq < head.seq {
		g.deliver(g.ledger.appendEvent(account, rapid.Bool().Draw(r.T, "held")))
	}
}

func (r *hostileRun) resync() { r.gateway.resyncAll(r.drawAccount(), HistoryUnavailable) }

func (r *hostileRun) closeAll() {
	code := rapid.SampledFrom([]int{1001, 1011, 1012, 4400, 4401, 4408, 4413, 4429}).Draw(r.T, "code")
	r.gateway.endAll(code)
}

func (r *hostileRun) drain() {
	after := rapid.IntRange(0, 20_000).Draw(r.T, "afterMs")
	for c := range r.gateway.conns {
		c.send(fmt.Sprintf(`{"op":"reconnect","afterMs":%d,"reason":"drain"}`, after))
	}
	if rapid.Bool().Draw(r.T, "closes") {
		r.gateway.endAll(1012)
	}
}

// goSilent makes the present connections answer nothing, for ever.
func (r *hostileRun) goSilent() {
	for c := range r.gateway.conns {
		c.silent = true
	}
}

// pause holds the messages of the connections back, or lets them go.
func (r *hostileRun) pause() {
	for c := range r.gateway.conns {
		if c.paused {
			c.unpause()
			continue
		}
		c.paused = true
	}
}

func (c *modelConn) unpause() {
	queued := c.queued
	c.queued = nil
	c.paused = false
	for _, m := range queued {
		c.send(m)
	}
}

// repeatOld sends event frames again: of the same subscription since its last barrier, or of one that
// the client has given up.
func (r *hostileRun) repeatOld() {
	for c := range r.gateway.conns {
		if len(c.shown) == 0 {
			continue
		}
		c.send(c.shown[rapid.IntRange(0, len(c.shown)-1).Draw(r.T, "frame")])
	}
}

// read lets the loops read some items.
func (r *hostileRun) read() {
	for _, m := range r.readers {
		for range rapid.IntRange(0, 8).Draw(r.T, "items") {
			m.permits <- struct{}{}
		}
	}
}

// wait lets time pass.
func (r *hostileRun) wait() {
	d := time.Duration(rapid.IntRange(1, 60_000).Draw(r.T, "ms")) * time.Millisecond
	r.gateway.mu.Unlock()
	passTime(d)
	r.gateway.mu.Lock()
}

func (r *hostileRun) expireToken() {
	for c := range r.gateway.conns {
		c.send(`{"op":"token_expiring","expiresAt":"2030-01-01T00:00:00.000Z"}`)
	}
}
