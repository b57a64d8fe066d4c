package feed

import (
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// A deliverState is the state of one call of Deliver.
type deliverState struct {
	toWake     []*Client // clients whose writer must be woken
	gaps       []*Feed   // feeds that met a gap
	queued     int       // frames queued
	duplicates int       // deliveries that were delivered before
}

var deliverStates = sync.Pool{New: func() any { return new(deliverState) }}

// Deliver implements ws.Hub.Deliver.
func (x *Index) Deliver(batch []bus.Delivery, refill bool) {
	d, _ := deliverStates.Get().(*deliverState)
	var allAccounts []*Subscription
	if !refill && x.hasAllAccounts() {
		x.allAccountsMu.RLock()
		defer x.allAccountsMu.RUnlock()
		allAccounts = *x.allAccounts.Load()
	}

	for i := range batch {
		x.deliverOne(d, &batch[i], allAccounts, refill)
	}

	x.cfg.Metrics.Deliveries.Add(float64(d.queued))
	x.cfg.Metrics.Duplicates.Add(float64(d.duplicates))
	for _, c := range d.toWake {
		c.Transport.WakeWriter()
	}

	x.repairFeeds(d.gaps)

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
func (x *Index) deliverOne(
	d *deliverState, del *bus.Delivery, allAccounts []*Subscription, refill bool,
) {
	if del.Type == bus.TypeHistoryChanged {
		x.rewindAccount(d, del)
		return
	}

	kept := recent.NewEvent(del, del.ForAccount())
	shown := kept
	if refill {
		kept.Millis = 0
	} else {
		shown = recent.WithSpan(x.cfg.Tracer, kept, del)
	}

	s := &x.shards[shardOf(del.Account)]
	if !x.deliverToFeeds(d, s, kept, shown) {
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
func (x *Index) deliverToFeeds(d *deliverState, s *shard, kept, shown *event) bool {
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
		x.cfg.Fetcher.RewindSnapshot(t.account, kept.Seq-1)
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
			f.streamMayDiffer = false
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
// the chain before the event, if it is known. If not, the events of the stream continue a balance in
// Redis that is not older than they are. The caller holds the mutex of the shard.
func (f *Feed) canFollow(before bus.Chain, isKnown bool) bool {
	if f.suspect {
		return false
	}

	if !isKnown {
		return !f.streamMayDiffer
	}

	return before == f.last.chain
}

// queueEvent queues the event for the subscription if its filter allows the event. It returns false
// if it does not.
func (d *deliverState) queueEvent(sub *Subscription, e *event) bool {
	if !sub.Filter.AllowsEvent(e) {
		return false
	}

	if e.Span != nil {
		e.Span.CountQueued()
	}

	if sub.Client.enqueueEvent(sub, e) {
		d.toWake = append(d.toWake, sub.Client)
	}

	d.queued++
	return true
}
