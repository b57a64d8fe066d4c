package feed

import (
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// An event is a delivery in the index.
type event = recent.Event

// ShardCount is the number of parts of the account index. Accounts are spread over the shards, so
// that ten thousand clients that subscribe at once do not delay deliveries.
const ShardCount = 64

// A shard is a part of the index from accounts to feeds, with the memory of the same accounts.
type shard struct {
	mu     sync.Mutex // protects the shard and its feeds; send queues are locked while it is held
	topics map[string]*topic
	memory recent.Memory

	generation uint64 // of the newest topic or rewind
	rewinds    rewindList
}

// A topic has the feeds of an account and its events in memory. It is removed when it has neither.
type topic struct {
	account string
	run     recent.Run // its events in memory
	feeds   []*Feed
	// generation changes when the history of the account changes. A state or a page that was read
	// in an earlier generation must not be used.
	generation uint64
}

type feedState uint8

const (
	opening    feedState = iota // the start of the feed is being read
	catchingUp                  // the feed reads events from the memory or the history
	live                        // the feed receives deliveries
	removed                     // the feed was unsubscribed
)

// A Feed is one account of one subscription. The mutex of the shard protects the fields that
// change. While the feed catches up, one goroutine works on it.
type Feed struct {
	sub   *Subscription
	shard *shard
	topic *topic
	state feedState
	// last is the point that the next event follows. The events up to it were queued or filtered
	// out, or are included in the snapshot.
	last point
	// shown is the newest point that the client was shown, in a subscribed, event or resync frame.
	shown point
	// knownSeq is the seq of an event that is known to exist. The feed must not become live before
	// it.
	knownSeq int64
	// suspect is true if the ledger may not have the history that the client was shown. Then last
	// must be compared with the ledger before the next event.
	suspect bool
	// streamMayDiffer is true if the stream's next event may belong to another history than last.
	// Either last was read from the ledger: then the stream may be behind, and may still have a
	// marker for events that the client was never shown. Or last is a balance in Redis that was older
	// than the stream's events in memory: then a marker may follow those.
	streamMayDiffer bool
}

// shardOf returns the index of the account's shard.
func shardOf(account string) uint32 {
	h := uint32(2166136261) // FNV-1a, without the allocation of hash/fnv
	for i := range len(account) {
		h = (h ^ uint32(account[i])) * 16777619
	}

	// Partitions use the low bits of the same hash, so mix in the high bits.
	return (h ^ h>>16 ^ h>>8) % ShardCount
}

// findOrAddTopic returns the account's topic. The caller holds mu.
func (s *shard) findOrAddTopic(account string) *topic {
	t := s.topics[account]
	if t == nil {
		t = &topic{account: account, generation: s.nextGeneration()}
		s.topics[account] = t
	}

	return t
}

// addToMemory adds the event to the memory and removes the oldest events if it is full. The caller
// holds mu.
func (s *shard) addToMemory(t *topic, e *event) {
	s.memory.Add(&t.run, e)
	for s.memory.IsFull() {
		oldest, position := s.memory.RemoveOldest()
		t := s.topics[oldest.Account]
		if t != nil {
			t.run.Forget(oldest, position)
			s.removeUnused(t)
		}
	}
}

// removeUnused removes a topic without feeds and events. The caller holds mu.
func (s *shard) removeUnused(t *topic) {
	if len(t.feeds) == 0 && t.run.IsEmpty() {
		delete(s.topics, t.account)
	}
}

// addFeed adds a feed for the account. The feed is opening.
func (s *shard) addFeed(sub *Subscription, account string) *Feed {
	s.mu.Lock()
	defer s.mu.Unlock()

	t := s.findOrAddTopic(account)
	f := &Feed{
		sub:   sub,
		shard: s,
		topic: t,
	}

	t.feeds = append(t.feeds, f)
	return f
}

// subscribedTopics lists the topics that have feeds.
func (s *shard) subscribedTopics() []*topic {
	s.mu.Lock()
	defer s.mu.Unlock()

	var list []*topic
	for _, t := range s.topics {
		if len(t.feeds) > 0 {
			list = append(list, t)
		}
	}

	return list
}

// leaveShard removes the feed. No event is queued for it afterwards.
func (f *Feed) leaveShard() {
	s := f.shard
	s.mu.Lock()
	defer s.mu.Unlock()

	if f.state == removed {
		return
	}

	f.state = removed
	feeds := f.topic.feeds
	i := slices.Index(feeds, f)
	if i >= 0 {
		last := len(feeds) - 1
		feeds[i] = feeds[last]
		feeds[last] = nil
		f.topic.feeds = feeds[:last]
	}

	s.removeUnused(f.topic)
}

// isUpToDate reports whether no event is missing before the next delivery, and whether the next
// delivery will continue the feed's history. The caller holds the mutex of the shard.
func (f *Feed) isUpToDate() bool {
	if f.last.seq < f.newestKnown() {
		return false
	}

	return !f.contradictsMemory()
}

// contradictsMemory reports whether the memory has another history than the feed. The caller holds
// the mutex of the shard.
func (f *Feed) contradictsMemory() bool {
	chain, isKnown := f.shard.memory.ChainAt(&f.topic.run, f.last.seq)
	return isKnown && chain != f.last.chain
}

// canReadMemory reports whether the memory has the next events of the feed's history. The caller
// holds the mutex of the shard.
func (f *Feed) canReadMemory() bool {
	if !f.topic.run.Holds(f.last.seq + 1) {
		return false
	}

	chain, isKnown := f.shard.memory.ChainAt(&f.topic.run, f.last.seq)
	return f.canFollow(chain, isKnown)
}

// newestKnown returns the seq of the newest event that is known to exist. The caller holds the
// mutex of the shard.
func (f *Feed) newestKnown() int64 {
	return max(f.topic.run.Newest(), f.knownSeq)
}

// A progress is the progress of a feed at one moment.
type progress struct {
	last       point
	newest     int64 // the newest event that is known to exist
	inStream   int64 // the newest event of the topic
	suspect    bool
	generation uint64
}

// readProgress returns the progress of the feed.
func (f *Feed) readProgress() progress {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	return progress{
		last:       f.last,
		newest:     f.newestKnown(),
		inStream:   f.topic.run.Newest(),
		suspect:    f.suspect,
		generation: f.topic.generation,
	}
}
