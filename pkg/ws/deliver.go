package ws

import (
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// delivering is what one call of Deliver gathers before it wakes anybody.
type delivering struct {
	touched    []*session // have something to write since this batch
	gaps       []*feed
	passed     int // frames queued
	duplicates int
}

var deliverings = sync.Pool{New: func() any { return new(delivering) }}

// Deliver takes a batch of stream entries: in stream order for each account, and
// for one account always from the same goroutine at a time. The hub keeps the
// strings of a Delivery and copies of its bytes: when Deliver has returned, the
// batch and its buffers may be used again.
//
// Deliver never waits for a client and does no I/O. Connections that got something
// are told to write once, at the end of the batch.
//
// refill marks entries that are read again, to fill the memory after a start: they
// are not news, so ["*"] subscriptions do not get them and latency is not measured.
// To others they pass by seq like any delivery.
func (h *Hub) Deliver(batch []bus.Delivery, refill bool) {
	d, _ := deliverings.Get().(*delivering)
	allAccounts := *h.allAccounts.Load()
	if refill {
		allAccounts = nil
	}
	for i := range batch {
		h.deliver(d, &batch[i], allAccounts, refill)
	}
	h.metrics.deliveries.Add(float64(d.passed))
	h.metrics.duplicates.Add(float64(d.duplicates))
	for _, s := range d.touched {
		s.transport.wake()
	}
	for _, f := range d.gaps {
		h.metrics.gaps.Inc()
		f.sub.session.startRepair(f)
	}
	clear(d.touched)
	clear(d.gaps)
	*d = delivering{touched: d.touched[:0], gaps: d.gaps[:0]}
	deliverings.Put(d)
}

func (h *Hub) deliver(d *delivering, del *bus.Delivery, allAccounts []*subscription, refill bool) {
	e := newEvent(del, del.ForAccount())
	if refill {
		e.millis = 0
	}
	shown := e
	if !refill {
		shown = h.traced(e, del)
	}
	s := &h.shards[shardOf(del.Account)]
	if !s.deliver(d, e, shown) {
		return
	}
	full := shown
	if len(allAccounts) > 0 && !del.SecondParty {
		if del.View != nil {
			full = newEvent(del, del.Data)
			full.span = shown.span
		}
		for _, sub := range allAccounts {
			d.push(sub, full)
		}
	}
	for _, passing := range [...]*event{full, shown} {
		if passing != e {
			passing.body = nil // its frames are built; let the read's buffer go
		}
	}
	if shown.span != nil {
		shown.span.release()
	}
}

// deliver keeps the event and routes what is shown of it, which is e or its twin, to
// the account's feeds. It is false for an event that was delivered before.
func (s *shard) deliver(d *delivering, e, shown *event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(e.account)
	if e.seq <= t.chain.newest {
		// A live feed's next is above newest, and one that catches up reads the
		// memory or the history: nobody needs this one.
		d.duplicates++
		return false
	}
	e.account = t.account // one string for all
	s.keep(t, e)
	for _, f := range t.feeds {
		switch {
		case f.state != live || e.seq < f.next:
			// It will find the event in the memory, or has it already.
		case e.seq == f.next:
			f.next++
			d.push(f.sub, shown)
		default:
			f.state = catchingUp
			d.gaps = append(d.gaps, f)
		}
	}
	e.keep() // still under the lock: others find it in the memory only afterwards
	return true
}

// push queues the event if the subscription's filter lets it pass.
func (d *delivering) push(sub *subscription, e *event) {
	if !sub.filter.passes(e) {
		return
	}
	if e.span != nil {
		e.span.queue()
	}
	if sub.session.enqueue(item{frame: e.frame(sub.name, sub.quoted), event: e}) {
		d.touched = append(d.touched, sub.session)
	}
	d.passed++
}
