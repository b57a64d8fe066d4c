package feed

import (
	"github.com/redroomrewards/realtime/pkg/bus"
)

// A point is a point in the history of an account: a seq and the chain at that seq.
type point struct {
	seq   int64
	chain bus.Chain
}

// pointOf returns the point of an event.
func pointOf(e *event) point {
	return point{seq: e.Seq, chain: e.Chain}
}

// statePoint returns the point of a balance.
func statePoint(b *bus.Balance) point {
	return point{seq: b.Seq, chain: b.Chain}
}

// maxRewound is the number of accounts of a shard whose last rewind is remembered.
const maxRewound = 512

// A rewindList remembers which accounts went back, and how far. It forgets the oldest entries when
// it is full.
type rewindList struct {
	common map[string]int64 // the lowest common seq of each account
	order  []string         // the accounts, oldest first
}

// remember records that the account's events after the common seq never happened.
func (l *rewindList) remember(account string, common int64) {
	old, isKnown := l.common[account]
	if isKnown {
		l.common[account] = min(old, common)
		return
	}

	if len(l.order) == maxRewound {
		delete(l.common, l.order[0])
		l.order = append(l.order[:0], l.order[1:]...)
	}

	if l.common == nil {
		l.common = map[string]int64{}
	}

	l.common[account] = common
	l.order = append(l.order, account)
}

// isVoid reports whether the account's event with the seq may be one that never happened.
func (l *rewindList) isVoid(account string, seq int64) bool {
	common, isKnown := l.common[account]
	return isKnown && seq > common
}

// rewindAccount handles a marker: the events of the account that were published after the marker's
// seq never happened. A feed that was shown one of them compares its history with the ledger. The
// others continue after the marker.
func (x *Index) rewindAccount(d *deliverState, marker *bus.Delivery) {
	s := &x.shards[shardOf(marker.Account)]
	s.mu.Lock()
	defer s.mu.Unlock()

	s.rewinds.remember(marker.Account, marker.Seq)
	x.cfg.Fetcher.RewindSnapshot(marker.Account, marker.Seq)
	t := s.topics[marker.Account]
	if t == nil {
		return
	}

	common := point{seq: marker.Seq, chain: marker.Chain}
	s.resetRun(t, common)
	for _, f := range t.feeds {
		if f.rewindTo(common) {
			d.gaps = append(d.gaps, f)
		}
	}

	s.removeUnused(t)
}

// rewindTo moves the feed back to the common point if it is after it. It returns true if the feed
// was live and must now compare its history with the ledger, or catch up. The caller holds the mutex
// of the shard.
func (f *Feed) rewindTo(common point) (mustRepair bool) {
	shownVoid := f.shown.seq > common.seq || isOtherHistory(f.shown, common)
	f.knownSeq = min(f.knownSeq, common.seq)
	switch {
	case f.state == opening:
		return false
	case shownVoid || isOtherHistory(f.last, common):
		return f.suspectHistory()
	case f.last.seq > common.seq:
		f.last = common // the client was shown no later event: its filter dropped them
	}

	if f.state != live || f.last.seq == common.seq {
		return false
	}

	f.state = catchingUp // events before the common point were lost
	return true
}

// isOtherHistory reports whether the two points have the same seq and another chain.
func isOtherHistory(a, b point) bool {
	return a.seq == b.seq && a.chain != b.chain
}

// suspectHistory makes the feed compare its history with the ledger before its next event. It
// returns true if the feed was live, so that it must now be repaired. The caller holds the mutex of
// the shard.
func (f *Feed) suspectHistory() (mustRepair bool) {
	f.suspect = true
	if f.state != live {
		return false
	}

	f.state = catchingUp
	return true
}

// resetRun drops the memory of the topic. Events after last continue it. States and pages that are
// being read become invalid. The caller holds mu.
func (s *shard) resetRun(t *topic, last point) {
	t.run.Reset(last.seq, last.chain)
	t.generation = s.nextGeneration()
}

// nextGeneration returns a number that no topic has had. The caller holds mu.
func (s *shard) nextGeneration() uint64 {
	s.generation++
	return s.generation
}

// forkTopic drops the memory of a topic that does not belong to the ledger's history. Every feed of
// the topic compares its history with the ledger. The live ones are appended to gaps. The caller
// holds mu.
func (s *shard) forkTopic(gaps []*Feed, t *topic) []*Feed {
	s.resetRun(t, point{})
	for _, f := range t.feeds {
		if f.suspectHistory() {
			gaps = append(gaps, f)
		}
	}

	return gaps
}

// A ledgerPage is what the ledger says about an account.
type ledgerPage struct {
	points     []point // of some of the account's events
	last       int64   // the newest seq
	readBefore int64   // the newest seq of the topic when the read began
}

// contradicts reports whether the ledger does not have an event that the topic has. The caller
// holds mu.
func (s *shard) contradicts(t *topic, page *ledgerPage) bool {
	// Events are published after their commit, so the ledger had them when the read began.
	if page.last < page.readBefore {
		return true
	}

	for _, p := range page.points {
		chain, isKnown := s.memory.ChainAt(&t.run, p.seq)
		if isKnown && chain != p.chain {
			return true
		}
	}

	return false
}

// checkMemory drops the memory of the topic if the ledger contradicts it. It returns the feeds that
// must be repaired. reader is the feed that asked the ledger, and is not changed. The caller holds
// mu.
func (x *Index) checkMemory(s *shard, t *topic, reader *Feed, page *ledgerPage) (gaps []*Feed) {
	if !s.contradicts(t, page) {
		return nil
	}

	x.cfg.Fetcher.RewindSnapshot(t.account, page.last)
	isSuspect := reader != nil && reader.suspect
	gaps = s.forkTopic(nil, t)
	if reader != nil {
		reader.suspect = isSuspect
	}

	return gaps
}

// pointsOf returns the points of a page's first event and of its last one that a topic with the
// newest seq may have.
func pointsOf(events []*event, newest int64) []point {
	if len(events) == 0 {
		return nil
	}

	points := []point{pointOf(events[0])}
	last := min(int64(len(events)-1), newest-events[0].Seq)
	if last > 0 {
		points = append(points, pointOf(events[last]))
	}

	return points
}

// ForgetMemory implements ws.Hub.ForgetMemory.
func (x *Index) ForgetMemory() {
	for i := range x.shards {
		x.shards[i].forgetMemory()
	}
}

func (s *shard) forgetMemory() {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.memory.Clear()
	for _, t := range s.topics {
		s.resetRun(t, point{})
		for _, f := range t.feeds {
			f.suspect = true
		}

		s.removeUnused(t)
	}
}
