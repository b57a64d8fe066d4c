package ws

import (
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// A deliverState is the state of one call of Deliver.
type deliverState struct {
	toWake     []*session // sessions whose writer must be woken
	gaps       []*feed    // feeds that met a gap
	queued     int        // frames queued
	duplicates int        // deliveries that were delivered before
}

var deliverStates = sync.Pool{New: func() any { return new(deliverState) }}

// Deliver delivers a batch of stream entries. The entries of an account must be in stream order,
// and only one goroutine at a time may deliver entries of the same account. The hub keeps the
// strings of a Delivery and copies its bytes: the caller can reuse the batch and its buffers when
// Deliver has returned.
//
// Deliver never waits for a client and does no I/O. It wakes the writers of the connections once,
// at the end of the batch.
//
// refill marks entries that are read again after a start, to fill the memory. They are not live:
// ["*"] subscriptions do not receive them, and their latency is not measured. Other subscriptions
// handle them by seq like any delivery.
//
// A delivery with the type bus.TypeHistoryChanged is a marker: the events of its account after its
// seq that were delivered before it never happened.
func (h *Hub) Deliver(batch []bus.Delivery, refill bool) {
	d, _ := deliverStates.Get().(*deliverState)
	allAccounts := *h.allAccounts.Load()
	if refill {
		allAccounts = nil
	}

	for i := range batch {
		h.deliverOne(d, &batch[i], allAccounts, refill)
	}

	h.metrics.Deliveries.Add(float64(d.queued))
	h.metrics.Duplicates.Add(float64(d.duplicates))
	for _, s := range d.toWake {
		s.transport.wakeWriter()
	}

	h.repairFeeds(d.gaps)

	clear(d.toWake)
	clear(d.gaps)
	*d = deliverState{
		toWake: d.toWake[:0],
		gaps:   d.gaps[:0],
	}

	deliverStates.Put(d)
}

// deliverOne delivers one entry. kept is the event in the memory, shown is the event for the
// account's subscribers, and full is the event for ["*"] subscribers. They are the same event
// unless there is a span or a view.
func (h *Hub) deliverOne(
	d *deliverState, del *bus.Delivery, allAccounts []*subscription, refill bool,
) {
	if del.Type == bus.TypeHistoryChanged {
		h.rewindAccount(d, del)
		return
	}

	kept := recent.NewEvent(del, del.ForAccount())
	shown := kept
	if refill {
		kept.Millis = 0
	} else {
		shown = recent.WithSpan(h.cfg.Tracer, kept, del)
	}

	s := &h.shards[shardOf(del.Account)]
	if !h.deliverToFeeds(d, s, kept, shown) {
		return
	}

	full := shown
	if len(allAccounts) > 0 && !del.SecondParty {
		if del.View != nil {
			full = recent.NewEvent(del, del.Data)
			full.Span = shown.Span
		}

		for _, sub := range allAccounts {
			d.queueEvent(sub, full)
		}
	}

	// The frames are built. The bodies would keep the buffer of the stream read in memory.
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

// deliverToFeeds adds kept to the memory and queues shown for the account's feeds. It returns false
// for an event that was delivered before.
func (h *Hub) deliverToFeeds(d *deliverState, s *shard, kept, shown *event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	t := s.findOrAddTopic(kept.Account)
	if kept.Seq <= t.run.Newest() {
		chain, isKnown := s.memory.ChainAt(&t.run, kept.Seq)
		if !isKnown || chain == kept.Chain {
			// No feed needs this event. A live feed waits for a newer one, and a feed that catches
			// up reads the memory or the history.
			d.duplicates++
			return false
		}

		// Only the ledger knows which of the two events happened.
		h.fetcher.RewindSnapshot(t.account, kept.Seq-1)
		d.gaps = s.forkTopic(d.gaps, t)
	}

	before, isKnown := s.memory.ChainAt(&t.run, kept.Seq-1)
	kept.Account = t.account // all events of the account share one string
	s.addToMemory(t, kept)
	for _, f := range t.feeds {
		switch {
		case f.state != live || kept.Seq < f.last.seq:
			// The feed reads the event from the memory, or has it already.
		case kept.Seq == f.last.seq+1 && f.canFollow(before, isKnown):
			f.last = pointOf(kept)
			f.fromLedger = false
			if d.queueEvent(f.sub, shown) {
				f.shown = f.last
			}
		case kept.Seq == f.last.seq && kept.Chain == f.last.chain:
			// The stream was behind the feed.
		default:
			f.suspect = f.suspect || kept.Seq <= f.last.seq+1
			f.state = catchingUp
			d.gaps = append(d.gaps, f)
		}
	}

	kept.DetachBody() // other goroutines can find the event only after the lock is released
	return true
}

// canFollow reports whether the next event of the stream continues the feed's history. before is
// the chain before the event, if it is known. If not, the events of the stream continue the balance
// in Redis. The caller holds the mutex of the shard.
func (f *feed) canFollow(before bus.Chain, isKnown bool) bool {
	if f.suspect {
		return false
	}

	if !isKnown {
		return !f.fromLedger
	}

	return before == f.last.chain
}

// queueEvent queues the event for the subscription if its filter allows the event. It returns false
// if it does not.
func (d *deliverState) queueEvent(sub *subscription, e *event) bool {
	if !sub.filter.AllowsEvent(e) {
		return false
	}

	if e.Span != nil {
		e.Span.CountQueued()
	}

	if sub.session.enqueueEvent(sub, e) {
		d.toWake = append(d.toWake, sub.session)
	}

	d.queued++
	return true
}
