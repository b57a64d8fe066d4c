package ws

import (
	"context"
	"errors"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// A replay proceeds in steps of at most this size, so that a step holds the lock of the shard only
// briefly and does not overflow the queue of a fast client. In a small queue the steps are smaller:
// a step waits until half of the queue is free, and is at most a quarter of the queue.
const (
	stepEvents = 128
	stepBytes  = 256 << 10
	// stackEvents is the room for events on the stack. Most clients missed fewer. Larger room would
	// make the stack of every connection grow.
	stackEvents = 16
)

// catchUp queues the events that a feed lacks and makes the feed live. The events come from page if
// it has them, then from the memory, then from the history. If that fails, it queues a resync. It
// calls flush whenever it has queued frames. It returns nil when the connection is closing.
//
// After an error the feed is still catching up and no event is lost. Only one goroutine may catch
// up a feed.
func (s *session) catchUp(ctx context.Context, f *feed, page []*event, flush func()) error {
	replayed := 0
	for {
		if !s.queue.WaitForRoom(s.ended, s.hub.cfg.WriteTimeout) {
			s.hub.metrics.CountLimit(metrics.LimitWriteTimeout)
			s.transport.closeWith(protocol.CloseSlowConsumer, "the client reads a replay too slowly")
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

		flush() // before waiting for the history
		var err error
		page, err = s.fetchMissing(ctx, f, s.hub.cfg.MaxReplay-replayed)
		if err == nil && len(page) > 0 {
			continue
		}

		resyncErr := s.resyncFeed(ctx, f)
		if resyncErr != nil {
			return errors.Join(err, resyncErr)
		}

		flush()
	}
}

// fetchMissing gets the next events of the feed from the history. The page is empty when there are
// none, or when the feed lacks more than limit events.
func (s *session) fetchMissing(ctx context.Context, f *feed, limit int) ([]*event, error) {
	next, newest := f.readProgress()
	if newest-next >= int64(limit) {
		s.hub.metrics.CountLimit(metrics.LimitReplay)
		return nil, nil
	}

	page, last, err := s.hub.fetcher.FetchEvents(ctx, f.topic.account, next-1)
	if err != nil || last-next >= int64(limit) {
		return nil, err
	}

	return page, nil
}

// A stepResult says how a replay continues.
type stepResult uint8

const (
	stepMore  stepResult = iota // with another step
	stepDone                    // not at all: the feed is live or removed
	stepFetch                   // with events from the history
)

// replayStep queues the next events of a feed that catches up, from the page or from the memory. It
// makes the feed live when no event is missing. It returns the rest of the page and the number of
// events that it processed.
func (s *session) replayStep(f *feed, page []*event) (rest []*event, n int, result stepResult) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if f.state == removed {
		return nil, 0, stepDone
	}

	for len(page) > 0 && page[0].Seq < f.nextSeq {
		page = page[1:]
	}

	limit := max(1, min(stepEvents, s.hub.cfg.QueueEvents/4))
	size := min(stepBytes, s.hub.cfg.QueueBytes/4)
	run := &f.topic.run
	var array [stackEvents]*event
	var events []*event
	switch {
	case len(page) > 0 && page[0].Seq == f.nextSeq:
		n = recent.CountFitting(page, limit, size)
		events = page[:n]
		page = page[n:]
	case run.Holds(f.nextSeq):
		events = f.shard.memory.AppendSince(array[:0], run, f.nextSeq, limit, size)
	case f.isUpToDate():
		f.state = live
		return nil, 0, stepDone
	default:
		return nil, 0, stepFetch
	}

	for _, e := range events {
		f.nextSeq = e.Seq + 1
		if f.sub.filter.AllowsEvent(e) {
			s.enqueueEvent(f.sub, e)
		}
	}

	if len(page) == 0 && f.isUpToDate() {
		f.state = live
		return nil, len(events), stepDone
	}

	return page, len(events), stepMore
}

// resyncFeed sends the client the current balance. The events of the feed continue after it.
func (s *session) resyncFeed(ctx context.Context, f *feed) error {
	next, newest := f.readProgress()
	b, err := s.hub.fetcher.FetchState(ctx, f.topic.account, max(next-1, newest))
	if err != nil {
		return err
	}

	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if f.state == removed {
		return nil
	}

	f.nextSeq = b.Seq + 1
	f.knownSeq = b.Seq
	s.hub.metrics.Resyncs.Inc()
	s.enqueueFrame(protocol.ResyncFrame(f.sub.quotedName, b, protocol.HistoryUnavailable))

	return nil
}
