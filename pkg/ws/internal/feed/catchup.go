package feed

import (
	"context"
	"errors"

	"github.com/redroomrewards/realtime/pkg/ws/internal/fetch"
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

// An eventPage has events from the history that follow a feed's last event. They must not be used
// when the topic has another generation.
type eventPage struct {
	events     []*event
	generation uint64
}

// catchUp queues the events that a feed lacks and makes the feed live. The events come from page if
// it has them, then from the memory, then from the history. If that fails, it queues a resync. It
// calls flush whenever it has queued frames. It returns nil when the connection is closing.
//
// After an error the feed is still catching up and no event is lost. Only one goroutine may catch
// up a feed.
func (c *Client) catchUp(ctx context.Context, f *Feed, page eventPage, flush func()) error {
	replayed := 0
	for {
		if !c.Queue.WaitForRoom(c.ended, c.index.cfg.WriteTimeout) {
			c.index.cfg.Metrics.CountLimit(metrics.LimitWriteTimeout)
			c.Transport.CloseWith(protocol.CloseSlowConsumer, "the client reads a replay too slowly")
		}
		if c.Queue.IsSealed() {
			return nil
		}

		rest, n, result := c.replayStep(f, page)
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
		var verdict pageVerdict
		var err error
		page, verdict, err = c.fetchMissing(ctx, f, c.index.cfg.MaxReplay-replayed)
		if err == nil && verdict == pageContinues {
			continue
		}

		resyncErr := c.resyncFeed(ctx, f, verdict, err)
		if resyncErr != nil {
			return errors.Join(err, resyncErr)
		}

		flush()
	}
}

// A pageVerdict says how a page of the history relates to a feed.
type pageVerdict uint8

const (
	pageContinues  pageVerdict = iota // the feed continues with the page, or looks again
	pageIncomplete                    // events are missing
	pageOther                         // the ledger does not have what the client was shown
)

// fetchMissing gets the next events of the feed from the history. It reads the feed's last event
// too, which proves that the page continues the feed's history. The page is empty when the feed
// lacks more than limit events.
func (c *Client) fetchMissing(
	ctx context.Context, f *Feed, limit int,
) (page eventPage, verdict pageVerdict, err error) {
	p := f.readProgress()
	key := fetch.PageKey{
		Account:    f.topic.account,
		After:      max(0, p.last.seq-1),
		Limit:      c.index.cfg.MaxReplay + 1,
		Generation: p.generation,
		Newest:     p.newest,
	}

	if p.newest-p.last.seq > int64(limit) {
		key.Limit = 1 // only to compare the histories
	}

	fetched, err := c.index.cfg.Fetcher.FetchEvents(ctx, key)
	if err != nil {
		return eventPage{}, pageIncomplete, err
	}

	page, verdict = c.acceptPage(f, p, fetched)
	isProven := verdict == pageContinues && page.generation != 0
	switch {
	case !isProven:
		return page, verdict, nil
	case fetched.Last-p.last.seq > int64(limit):
		c.index.cfg.Metrics.CountLimit(metrics.LimitReplay)
		return eventPage{}, pageIncomplete, nil
	case key.Limit > 1 && fetched.Last > p.last.seq && !hasEventAfter(page.events, p.last.seq):
		return eventPage{}, pageIncomplete, nil
	}

	return page, verdict, nil
}

func hasEventAfter(events []*event, seq int64) bool {
	return len(events) > 0 && events[len(events)-1].Seq > seq
}

// acceptPage compares the page with the feed's history. The page begins with the feed's last event,
// unless that is at seq 0. The page is empty and its generation is 0 when the feed must look again.
func (c *Client) acceptPage(f *Feed, p progress, fetched fetch.Page) (eventPage, pageVerdict) {
	f.shard.mu.Lock()
	t := f.topic
	if f.state == removed || t.generation != p.generation {
		f.shard.mu.Unlock()
		return eventPage{}, pageContinues
	}

	verdict := compareHistory(f.last, fetched)
	if verdict != pageOther {
		f.knownSeq = fetched.Last
	}

	switch {
	case verdict == pageContinues:
		f.suspect = false
		f.streamMayDiffer = true
	case verdict == pageOther:
		f.suspect = true
		if f.shown != f.last {
			f.last = f.shown // the ledger may have what the client was shown
			verdict = pageContinues
			p.generation = 0
		}
	}

	gaps := c.index.checkMemory(f.shard, t, f, &ledgerPage{
		points:     pointsOf(fetched.Events, t.run.Newest()),
		last:       fetched.Last,
		readBefore: p.inStream,
	})
	if p.generation != 0 {
		p.generation = t.generation
	}
	f.shard.mu.Unlock()

	c.index.repairFeeds(gaps)
	if p.generation == 0 {
		return eventPage{}, verdict
	}

	return eventPage{events: fetched.Events, generation: p.generation}, verdict
}

// compareHistory compares the last event of a client with a page that begins with the event.
func compareHistory(last point, page fetch.Page) pageVerdict {
	hasEvent := len(page.Events) > 0 && page.Events[0].Seq == last.seq
	switch {
	case page.Last < last.seq || (last.seq == 0 && last.chain != 0):
		return pageOther
	case last.seq == 0 && (len(page.Events) > 0 || page.Last == 0):
		return pageContinues
	case !hasEvent:
		return pageIncomplete
	case page.Events[0].Chain != last.chain:
		return pageOther
	}

	return pageContinues
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
func (c *Client) replayStep(
	f *Feed, page eventPage,
) (rest eventPage, n int, result stepResult) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if f.state == removed {
		return eventPage{}, 0, stepDone
	}

	if f.suspect {
		return eventPage{}, 0, stepFetch
	}

	if page.generation != f.topic.generation {
		page = eventPage{}
	}

	for len(page.events) > 0 && page.events[0].Seq <= f.last.seq {
		page.events = page.events[1:]
	}

	limit := max(1, min(stepEvents, c.index.cfg.QueueEvents/4))
	size := min(stepBytes, c.index.cfg.QueueBytes/4)
	run := &f.topic.run
	next := f.last.seq + 1
	var array [stackEvents]*event
	var events []*event
	switch {
	case len(page.events) > 0 && page.events[0].Seq == next:
		n = recent.CountFitting(page.events, limit, size)
		events = page.events[:n]
		page.events = page.events[n:]
	case f.canReadMemory():
		events = f.shard.memory.AppendSince(array[:0], run, next, limit, size)
	case f.isUpToDate():
		f.state = live
		return eventPage{}, 0, stepDone
	default:
		f.suspect = f.contradictsMemory()
		return eventPage{}, 0, stepFetch
	}

	for _, e := range events {
		f.last = pointOf(e)
		if f.sub.Filter.AllowsEvent(e) {
			f.shown = f.last
			c.enqueueEvent(f.sub, e)
		}
	}

	if len(page.events) == 0 && f.isUpToDate() {
		f.state = live
		return eventPage{}, len(events), stepDone
	}

	return page, len(events), stepMore
}

var errUnproven = errors.New("the ledger must confirm the history before the feed continues")

// resyncFeed sends the client the current balance. The events of the feed continue after it.
// fetchErr is not nil if the history is not available. A feed whose history must be compared with
// the ledger waits until it is available.
func (c *Client) resyncFeed(
	ctx context.Context, f *Feed, verdict pageVerdict, fetchErr error,
) error {
	p := f.readProgress()
	isSuspect := p.suspect || verdict == pageOther
	hasNoLedger := errors.Is(fetchErr, fetch.ErrNoHistory)
	if isSuspect && fetchErr != nil && !hasNoLedger {
		return errUnproven
	}

	var b fetch.State
	var err error
	if isSuspect {
		b, err = c.index.cfg.Fetcher.FetchLedgerState(ctx, f.topic.account)
	} else {
		b, err = c.index.cfg.Fetcher.FetchState(ctx, f.topic.account, max(p.last.seq, p.newest))
	}

	if err != nil {
		return err
	}

	c.index.repairFeeds(c.setState(f, p, b, verdict))
	return nil
}

// setState makes the feed continue after the state, and queues the resync frame. If the state was
// read in an earlier generation, or if it cannot be used, it does nothing and the feed looks again.
// It returns other feeds that must be repaired.
func (c *Client) setState(
	f *Feed, p progress, b fetch.State, verdict pageVerdict,
) (gaps []*Feed) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if f.state == removed || f.topic.generation != p.generation {
		return nil
	}

	state := statePoint(&b.Balance)
	isChanged := verdict == pageOther || state.seq < f.shown.seq || isOtherHistory(state, f.shown)
	isProven := f.suspect || verdict == pageOther
	if isChanged && !isProven {
		f.suspect = true // the ledger decides
		return nil
	}

	if b.FromLedger {
		gaps = c.index.checkMemory(f.shard, f.topic, f, &ledgerPage{
			points:     []point{state},
			last:       b.Seq,
			readBefore: p.inStream,
		})
	}

	f.last = state
	f.shown = state
	f.knownSeq = b.Seq
	f.suspect = false
	f.streamMayDiffer = b.FromLedger
	c.EnqueueFrame(c.index.resyncFrame(f.sub, b, isChanged))

	return gaps
}

// resyncFrame returns a resync frame and counts it.
func (x *Index) resyncFrame(sub *Subscription, b fetch.State, isChanged bool) []byte {
	reason := protocol.HistoryUnavailable
	if isChanged {
		reason = protocol.HistoryChanged
		x.cfg.Metrics.HistoryChanges.Inc()
	} else {
		x.cfg.Metrics.Resyncs.Inc()
	}

	return protocol.ResyncFrame(sub.QuotedName, b.Balance, reason)
}
