package ws

import (
	"context"
	"errors"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// A replay goes in steps of at most this size, so that neither the shard's lock is held for long
// nor a fast client's queue overrun. In a small queue they are smaller: a step waits until half of
// the queue is free, and is at most a quarter of it.
const (
	stepEvents = 128
	stepBytes  = 256 << 10
	// fewEvents is what most clients missed. Room for more on the stack would make every
	// connection's stack grow.
	fewEvents = 16
)

// errStale is the error of a state that is older than what the client has seen.
var errStale = errors.New("the state at hand is older than what was shown")

// catchUp brings a feed up to date and makes it live: with the page at hand, then from the memory,
// else from the history, else with a resync. flush is called whenever something was queued. On an
// error the feed is still catching up and nothing is lost. Only one goroutine may catch up a feed.
// For a client that is on its way out there is nothing to do.
func (s *session) catchUp(ctx context.Context, f *feed, page []*event, flush func()) error {
	replayed := 0
	for {
		if !s.queue.WaitForRoom(s.ended, s.hub.cfg.WriteTimeout) {
			s.hub.metrics.countLimit(limitWriteTimeout)
			s.transport.closeWith(protocol.CloseSlowConsumer, "replay too slow")
		}
		if s.queue.IsSealed() {
			return nil
		}
		rest, n, result := s.replayStep(f, page)
		page = rest
		replayed += n
		if n > 0 {
			flush()
		}
		switch result {
		case stepDone:
			return nil
		case stepMore:
			continue
		}
		flush() // before waiting for others
		var err error
		page, err = s.fetchMissing(ctx, f, s.hub.cfg.MaxReplay-replayed)
		if err == nil && len(page) > 0 {
			continue
		}
		if resyncErr := s.resync(ctx, f); resyncErr != nil {
			return errors.Join(err, resyncErr)
		}
		flush()
	}
}

// fetchMissing asks the history for the events that the feed needs next. The page is empty when
// there are none, or more are missing than may be replayed.
func (s *session) fetchMissing(ctx context.Context, f *feed, most int) ([]*event, error) {
	next, known := f.progress()
	if known-next >= int64(most) {
		s.hub.metrics.countLimit(limitReplay)
		return nil, nil
	}
	page, last, err := s.hub.fetchEvents(ctx, f.topic.account, next-1)
	if err != nil || last-next >= int64(most) {
		return nil, err
	}
	return page, nil
}

// stepResult says how a replay goes on.
type stepResult uint8

const (
	stepMore  stepResult = iota // with another step
	stepDone                    // not at all: the feed is live, or gone
	stepFetch                   // the history is needed
)

// replayStep queues the next few events of a feed that catches up, from the page or from the
// memory, and makes the feed live when there is no more to come. It returns the rest of the page
// and how many events it took.
func (s *session) replayStep(f *feed, page []*event) (rest []*event, n int, result stepResult) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.state == gone {
		return nil, 0, stepDone
	}
	for len(page) > 0 && page[0].Seq < f.next {
		page = page[1:]
	}
	limit := max(1, min(stepEvents, s.hub.cfg.QueueEvents/4))
	size := min(stepBytes, s.hub.cfg.QueueBytes/4)
	chain := &f.topic.chain
	var some [fewEvents]*event
	var events []*event
	switch {
	case len(page) > 0 && page[0].Seq == f.next:
		n = recent.CountFitting(page, limit, size)
		events = page[:n]
		page = page[n:]
	case chain.Holds(f.next):
		events = f.shard.memory.AppendSince(some[:0], chain, f.next, limit, size)
	case f.isUpToDate():
		f.state = live
		return nil, 0, stepDone
	default:
		return nil, 0, stepFetch
	}
	for _, e := range events {
		f.next = e.Seq + 1
		if f.sub.filter.passes(e) {
			s.enqueueEvent(f.sub, e)
		}
	}
	if len(page) == 0 && f.isUpToDate() {
		f.state = live
		return nil, len(events), stepDone
	}
	return page, len(events), stepMore
}

// resync tells the client the state, from which its events go on.
func (s *session) resync(ctx context.Context, f *feed) error {
	next, known := f.progress()
	b, err := s.hub.fetchState(ctx, f.topic.account, max(next-1, known))
	if err != nil {
		return err
	}
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.state == gone {
		return nil
	}
	f.next = b.Seq + 1
	f.known = b.Seq
	s.hub.metrics.resyncs.Inc()
	s.enqueueFrame(protocol.ResyncFrame(f.sub.quotedName, b))
	return nil
}
