package ws

import (
	"context"
	"errors"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A replay goes in steps of at most this size, so that neither the shard's lock is held
// for long nor a fast client's queue overrun. In a small queue they are smaller: a step,
// for which half a queue is waited for, is at most a quarter of one.
const (
	stepEvents = 128
	stepBytes  = 256 << 10
	// fewEvents is what most clients missed. Room for more on the stack would make every
	// connection's stack grow.
	fewEvents = 16
)

// errStale is a state older than what the client has seen already.
var errStale = errors.New("the state at hand is older than what was shown")

// catchUp brings a feed up to date and makes it live: with the page at
// hand, then from the memory, else from the history, else with a resync. written
// is called whenever something was queued. On an error the feed is still catching up
// and nothing is lost; only one goroutine may catch a feed up. For a client that is
// on its way out there is nothing to do.
func (s *session) catchUp(ctx context.Context, f *feed, page []*event, written func()) error {
	replayed := 0
	for {
		if !s.sendQueue.waitRoom(s.ended, s.hub.cfg.WriteTimeout) {
			s.hub.metrics.limit(limitWriteTimeout)
			s.transport.closeWith(protocol.CloseSlowConsumer, "replay too slow")
		}
		if s.sendQueue.closed() {
			return nil
		}
		var n int
		var st step
		page, n, st = s.step(f, page)
		replayed += n
		if n > 0 {
			written()
		}
		switch st {
		case stepDone:
			return nil
		case stepMore:
			continue
		}
		written() // before waiting for others
		next, known := f.progress()
		var err error
		var last int64
		if known-next < int64(s.hub.cfg.MaxReplay-replayed) {
			page, last, err = s.hub.events(ctx, f.topic.account, next-1)
		} else {
			s.hub.metrics.limit(limitReplay)
			page = nil
		}
		if err != nil || len(page) == 0 || last-next >= int64(s.hub.cfg.MaxReplay-replayed) {
			page = nil
			if rerr := s.resync(ctx, f); rerr != nil {
				return errors.Join(err, rerr)
			}
			written()
		}
	}
}

type step uint8

const (
	stepMore  step = iota // go on
	stepDone              // the feed is live, or gone
	stepFetch             // the history is needed
)

// step queues the next few events of a feed that catches up, from the page or from the
// memory, and makes the feed live when there is no more to come.
func (s *session) step(f *feed, page []*event) (rest []*event, n int, st step) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.state == gone {
		return nil, 0, stepDone
	}
	for len(page) > 0 && page[0].seq < f.next {
		page = page[1:]
	}
	cfg := &s.hub.cfg
	limit, size := max(1, min(stepEvents, cfg.QueueEvents/4)), min(stepBytes, cfg.QueueBytes/4)
	c := &f.topic.chain
	var events []*event
	switch {
	case len(page) > 0 && page[0].seq == f.next:
		n = cut(page, limit, size)
		events, page = page[:n], page[n:]
	case c.holds(f.next):
		var some [fewEvents]*event
		events = f.shard.memory.since(c, f.next, limit, size, some[:0])
		n = len(events)
	case f.next > max(c.newest, f.want):
		f.state = live
		return nil, 0, stepDone
	default:
		return nil, 0, stepFetch
	}
	for _, e := range events {
		f.next = e.seq + 1
		if f.sub.filter.passes(e) {
			s.enqueue(item{frame: e.frame(f.sub.name, f.sub.quoted), event: e})
		}
	}
	if len(page) == 0 && f.next > max(c.newest, f.want) {
		f.state = live
		return nil, n, stepDone
	}
	return page, n, stepMore
}

// progress tells what the feed needs next and how far events are known to go.
func (f *feed) progress() (next, known int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.next, max(f.topic.chain.newest, f.want)
}

// resync tells the client the state, from which its events go on.
func (s *session) resync(ctx context.Context, f *feed) error {
	next, known := f.progress()
	b, err := s.hub.state(ctx, f.topic.account, max(next-1, known))
	if err != nil {
		return err
	}
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.state == gone {
		return nil
	}
	f.next, f.want = b.Seq+1, b.Seq
	s.hub.metrics.resyncs.Inc()
	s.enqueue(item{frame: protocol.ResyncFrame(f.sub.quoted, b)})
	return nil
}
