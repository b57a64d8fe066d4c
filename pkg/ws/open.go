package ws

import (
	"errors"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A feedStart describes where an account of a new subscription begins.
type feedStart struct {
	seq       int64
	chain     bus.Chain   // at seq
	recovered bool        // the events after the client's after are available
	balance   bus.Balance // unless recovered
	resync    bool        // the client asked for events that are not available
	page      []*event    // the first events, if they were read from the history
}

// openFeed finds the start of a feed and sets its next seq. The feed is still catching up.
func (h *Hub) openFeed(f *feed, r *request.Request) (feedStart, error) {
	account := f.topic.account
	after, resumes := r.After[account]
	if !resumes {
		b, err := h.fetcher.FetchState(h.baseCtx, account, 0)
		if err != nil {
			return feedStart{}, err
		}

		f.startAfter(b.Seq, b.Seq)
		return feedStart{seq: b.Seq, chain: b.Chain, balance: b}, nil
	}

	if h.cfg.Current(account) {
		chain, isInMemory := f.chainInMemory(after)
		if isInMemory {
			f.startAfter(after, 0)
			return feedStart{seq: after, chain: chain, recovered: true}, nil
		}
	}

	b, stateErr := h.fetcher.FetchState(h.baseCtx, account, 0)
	if stateErr == nil && b.Seq == after {
		f.startAfter(after, 0)
		return feedStart{seq: after, chain: b.Chain, recovered: true}, nil
	}

	// Either the client missed events, or after is newer than the events of this gateway, because
	// another gateway was ahead. The ledger has the newest seq.
	page, last, historyErr := h.fetcher.FetchEvents(h.baseCtx, account, max(0, after-1))
	if historyErr == nil {
		tooMany := last-after > int64(h.cfg.MaxReplay)
		if tooMany {
			h.metrics.CountLimit(metrics.LimitReplay)
		} else if after == 0 || (len(page) > 0 && page[0].Seq == after) {
			f.startAfter(after, max(b.Seq, last))
			start := feedStart{seq: after, recovered: true, page: page}
			if after > 0 {
				start.chain = page[0].Chain
			}

			return start, nil
		}
	}

	if stateErr != nil {
		return feedStart{}, errors.Join(stateErr, historyErr)
	}

	f.startAfter(b.Seq, b.Seq)
	return feedStart{seq: b.Seq, chain: b.Chain, balance: b, resync: true}, nil
}

// chainInMemory returns the chain at the seq. known is false unless it and all events after the seq
// are in memory.
func (f *feed) chainInMemory(after int64) (chain bus.Chain, known bool) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	if !f.topic.run.HoldsAfter(after) {
		return 0, false
	}

	return f.shard.memory.ChainAt(&f.topic.run, after)
}
