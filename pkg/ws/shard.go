package ws

import (
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// An event is a delivery in the hub.
type event = recent.Event

// shardCount is the number of parts of the account index. Accounts are spread over the shards, so
// that ten thousand clients that subscribe at once do not delay deliveries.
const shardCount = 64

// A shard is a part of the index from accounts to feeds, with the memory of the same accounts.
type shard struct {
	mu     sync.Mutex // protects the shard and its feeds; send queues are locked while it is held
	topics map[string]*topic
	memory recent.Memory
}

// A topic has the feeds of an account and its events in memory. It is removed when it has neither.
type topic struct {
	account string
	run     recent.Run // its events in memory
	feeds   []*feed
}

type feedState uint8

const (
	catchingUp feedState = iota // the feed reads events from the memory or the history
	live                        // the feed receives deliveries
	removed                     // the feed was unsubscribed
)

// A feed is one account of one subscription. The mutex of the shard protects the fields that
// change. While the feed catches up, one goroutine works on it.
type feed struct {
	sub   *subscription
	shard *shard
	topic *topic
	state feedState
	// nextSeq is the seq of the next event. Events before it were queued or filtered out, or are
	// included in the snapshot.
	nextSeq int64
	// knownSeq is the seq of an event that is known to exist. The feed must not become live before
	// it.
	knownSeq int64
}

// shardOf returns the index of the account's shard.
func shardOf(account string) uint32 {
	h := uint32(2166136261) // FNV-1a, without the allocation of hash/fnv
	for i := range len(account) {
		h = (h ^ uint32(account[i])) * 16777619
	}

	// Partitions use the low bits of the same hash, so mix in the high bits.
	return (h ^ h>>16 ^ h>>8) % shardCount
}

// findOrAddTopic returns the account's topic. The caller holds mu.
func (s *shard) findOrAddTopic(account string) *topic {
	t := s.topics[account]
	if t == nil {
		t = &topic{account: account}
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

// addFeed adds a feed for the account. The feed is catching up.
func (s *shard) addFeed(sub *subscription, account string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()

	t := s.findOrAddTopic(account)
	f := &feed{
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
func (f *feed) leaveShard() {
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

// isUpToDate reports whether no event is missing before the next delivery. The caller holds the
// mutex of the shard.
func (f *feed) isUpToDate() bool {
	return f.nextSeq > f.newestKnown()
}

// newestKnown returns the seq of the newest event that is known to exist. The caller holds the
// mutex of the shard.
func (f *feed) newestKnown() int64 {
	return max(f.topic.run.Newest(), f.knownSeq)
}

// startAfter makes the feed start after the event with the seq. known is the seq of an event that
// is known to exist.
func (f *feed) startAfter(seq, known int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	f.nextSeq = seq + 1
	f.knownSeq = known
}

// readProgress returns the seq of the next event and of the newest event that is known to exist.
func (f *feed) readProgress() (next, newest int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()

	return f.nextSeq, f.newestKnown()
}
