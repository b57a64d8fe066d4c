package ws

import (
	"errors"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// start is where an account of a new subscription begins.
type start struct {
	seq       int64
	recovered bool
	balance   bus.Balance // unless recovered
	resync    bool        // after was asked for and cannot be served
	page      []*event    // the first events, when they came from the history
}

// open finds out where the feed begins and sets its next. The feed is catching up.
func (h *Hub) open(f *feed, r *request) (start, error) {
	account := f.topic.account
	after, resume := r.after[account]
	if !resume {
		b, err := h.state(h.base, account, 0)
		if err != nil {
			return start{}, err
		}
		f.begin(b.Seq, b.Seq)
		return start{seq: b.Seq, balance: b}, nil
	}
	if h.cfg.Current(account) && f.inMemory(after) {
		f.begin(after, 0)
		return start{seq: after, recovered: true}, nil
	}
	b, err := h.state(h.base, account, 0)
	if err == nil && b.Seq == after {
		f.begin(after, 0)
		return start{seq: after, recovered: true}, nil
	}
	// Events were missed; or after is newer than what is known here, because another
	// gateway was ahead of this one. The ledger knows.
	page, last, herr := h.events(h.base, account, after)
	if herr == nil && (len(page) > 0 || last == after) && last-after <= int64(h.cfg.MaxReplay) {
		f.begin(after, max(b.Seq, last))
		return start{seq: after, recovered: true, page: page}, nil
	}
	if herr == nil && last-after > int64(h.cfg.MaxReplay) {
		h.metrics.limit(limitReplay)
	}
	if err != nil {
		return start{}, errors.Join(err, herr)
	}
	f.begin(b.Seq, b.Seq)
	return start{seq: b.Seq, balance: b, resync: true}, nil
}

// inMemory tells whether everything after that seq is here.
func (f *feed) inMemory(after int64) bool {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	c := &f.topic.chain
	return c.holds(after+1) || (c.last != 0 && c.newest == after)
}

// begin sets what the feed has shown, and what is known to exist.
func (f *feed) begin(seq, want int64) {
	f.shard.mu.Lock()
	f.next, f.want = seq+1, want
	f.shard.mu.Unlock()
}
