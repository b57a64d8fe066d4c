package ws

import (
	"errors"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// feedStart is where an account of a new subscription begins.
type feedStart struct {
	seq       int64
	recovered bool
	balance   bus.Balance // unless recovered
	resync    bool        // the events since after cannot be had
	page      []*event    // the first events, when they came from the history
}

// openFeed finds out where the feed begins and sets its next. The feed is catching up.
func (h *Hub) openFeed(f *feed, r *request) (feedStart, error) {
	account := f.topic.account
	after, resumes := r.after[account]
	if !resumes {
		b, err := h.fetchState(h.base, account, 0)
		if err != nil {
			return feedStart{}, err
		}
		f.beginAfter(b.Seq, b.Seq)
		return feedStart{seq: b.Seq, balance: b}, nil
	}
	if h.cfg.Current(account) && f.isInMemory(after) {
		f.beginAfter(after, 0)
		return feedStart{seq: after, recovered: true}, nil
	}
	b, stateErr := h.fetchState(h.base, account, 0)
	if stateErr == nil && b.Seq == after {
		f.beginAfter(after, 0)
		return feedStart{seq: after, recovered: true}, nil
	}
	// Either events were missed, or after is newer than what is known here, because another gateway
	// was ahead of this one. The ledger knows.
	page, last, historyErr := h.fetchEvents(h.base, account, after)
	if historyErr == nil {
		tooMany := last-after > int64(h.cfg.MaxReplay)
		if tooMany {
			h.metrics.countLimit(limitReplay)
		} else if len(page) > 0 || last == after {
			f.beginAfter(after, max(b.Seq, last))
			return feedStart{seq: after, recovered: true, page: page}, nil
		}
	}
	if stateErr != nil {
		return feedStart{}, errors.Join(stateErr, historyErr)
	}
	f.beginAfter(b.Seq, b.Seq)
	return feedStart{seq: b.Seq, balance: b, resync: true}, nil
}

// isInMemory reports whether everything after that seq is in memory.
func (f *feed) isInMemory(after int64) bool {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.topic.chain.HoldsAfter(after)
}
