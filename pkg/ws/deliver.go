package ws

import (
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// delivering is what one call of Deliver gathers before it wakes anybody.
type delivering struct {
	touched    []*session // have something to write since this batch
	gaps       []*feed
	passed     int // frames queued
	duplicates int
}

var deliverings = sync.Pool{New: func() any { return new(delivering) }}

// Deliver takes a batch of stream entries: in stream order for each account, and for one account
// from one goroutine at a time. The hub keeps the strings of a Delivery and copies of its bytes:
// when Deliver has returned, the batch and its buffers may be used again.
//
// Deliver never waits for a client and does no I/O. Connections that got something are told to
// write once, at the end of the batch.
//
// refill marks entries that are read again, to fill the memory after a start. They are not news, so
// ["*"] subscriptions do not get them and latency is not measured. To other subscriptions they pass
// by seq like any delivery.
func (h *Hub) Deliver(batch []bus.Delivery, refill bool) {
	d, _ := deliverings.Get().(*delivering)
	allAccounts := *h.allAccounts.Load()
	if refill {
		allAccounts = nil
	}
	for i := range batch {
		h.deliverOne(d, &batch[i], allAccounts, refill)
	}
	h.metrics.deliveries.Add(float64(d.passed))
	h.metrics.duplicates.Add(float64(d.duplicates))
	for _, s := range d.touched {
		s.transport.wakeWriter()
	}
	h.repairFeeds(d.gaps)
	clear(d.touched)
	clear(d.gaps)
	*d = delivering{touched: d.touched[:0], gaps: d.gaps[:0]}
	deliverings.Put(d)
}

func (h *Hub) deliverOne(d *delivering, del *bus.Delivery, allAccounts []*subscription, refill bool) {
	kept := recent.NewEvent(del, del.ForAccount())
	shown := kept
	if refill {
		kept.Millis = 0
	} else {
		shown = recent.WithSpan(h.cfg.Tracer, kept, del)
	}
	s := &h.shards[shardOf(del.Account)]
	if !s.deliver(d, kept, shown) {
		return
	}
	full := shown
	if len(allAccounts) > 0 && !del.SecondParty {
		if del.View != nil {
			full = recent.NewEvent(del, del.Data)
			full.Span = shown.Span
		}
		for _, sub := range allAccounts {
			d.push(sub, full)
		}
	}
	// The frames of a twin are built. Its body would keep the read's buffer in memory.
	if full != kept {
		full.Body = nil
	}
	if shown != kept {
		shown.Body = nil
	}
	if shown.Span != nil {
		shown.Span.FinishQueueing()
	}
}

// deliver keeps the event and routes what is shown of it, which is the event or its twin, to the
// account's feeds. It is false for an event that was delivered before.
func (s *shard) deliver(d *delivering, kept, shown *event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(kept.Account)
	if kept.Seq <= t.chain.Newest() {
		// The next event of a live feed is a newer one, and a feed that catches up reads the memory
		// or the history: nobody needs this one.
		d.duplicates++
		return false
	}
	kept.Account = t.account // one string for all events
	s.remember(t, kept)
	for _, f := range t.feeds {
		switch {
		case f.state != live || kept.Seq < f.next:
			// It will find the event in the memory, or has it already.
		case kept.Seq == f.next:
			f.next++
			d.push(f.sub, shown)
		default:
			f.state = catchingUp
			d.gaps = append(d.gaps, f)
		}
	}
	kept.DetachBody() // still under the lock: others find it in the memory only afterwards
	return true
}

// push queues the event if the subscription's filter lets it pass.
func (d *delivering) push(sub *subscription, e *event) {
	if !sub.filter.passes(e) {
		return
	}
	if e.Span != nil {
		e.Span.CountQueued()
	}
	if sub.session.enqueueEvent(sub, e) {
		d.touched = append(d.touched, sub.session)
	}
	d.passed++
}

// noteSpans tells the spans of the events in a write that they were written.
func noteSpans(items []netconn.Item) {
	now := time.Now()
	for i := range items {
		e, ok := items[i].Event.(*event)
		if ok && e.Span != nil {
			e.Span.CountWritten(now)
		}
	}
}
