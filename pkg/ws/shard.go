package ws

import (
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// event is a delivery as the hub keeps and shows it.
type event = recent.Event

// shards is how many parts the index has. Accounts are spread over them, so that ten thousand
// clients that subscribe at once do not hold up deliveries.
const shards = 64

// shard is a part of the index from accounts to feeds, with the memory of the same accounts.
type shard struct {
	mu     sync.Mutex // protects the shard and the state of its feeds; send queues lock inside it
	topics map[string]*topic
	memory recent.Memory
}

// topic is what the shard knows about an account: who listens, and what is in memory. It goes when
// there is neither.
type topic struct {
	account string
	chain   recent.Chain
	feeds   []*feed
}

type feedState uint8

const (
	catchingUp feedState = iota // deliveries wait in the memory
	live                        // the next delivery passes if it is the next in seq
	gone                        // unsubscribed
)

// feed is one account of one subscription. The shard's mutex protects all fields that change. While
// the feed catches up, one goroutine works on it.
type feed struct {
	sub   *subscription
	shard *shard
	topic *topic
	state feedState
	next  int64 // seq of the event to come: lower ones were shown or filtered out, or are in the snapshot
	known int64 // events up to here are known to exist, so the feed may not go live before
}

// shardOf returns the index of the account's shard.
func shardOf(account string) uint32 {
	h := uint32(2166136261) // FNV-1a, without the allocation of hash/fnv
	for i := range len(account) {
		h = (h ^ uint32(account[i])) * 16777619
	}
	// Partitions use the low bits of the same hash: mix the high ones in.
	return (h ^ h>>16 ^ h>>8) % shards
}

// topic finds or makes the account's topic. The caller holds mu.
func (s *shard) topic(account string) *topic {
	t := s.topics[account]
	if t == nil {
		t = &topic{account: account}
		s.topics[account] = t
	}
	return t
}

// remember puts the event into memory and makes room. The caller holds mu.
func (s *shard) remember(t *topic, e *event) {
	s.memory.Add(&t.chain, e)
	for s.memory.IsFull() {
		old, position := s.memory.RemoveOldest()
		if t := s.topics[old.Account]; t != nil {
			t.chain.Forget(old, position)
			s.dropUnused(t)
		}
	}
}

// dropUnused lets go of a topic that nothing needs. The caller holds mu.
func (s *shard) dropUnused(t *topic) {
	if len(t.feeds) == 0 && t.chain.IsEmpty() {
		delete(s.topics, t.account)
	}
}

// addFeed adds a feed for the account, which catches up.
func (s *shard) addFeed(sub *subscription, account string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(account)
	f := &feed{sub: sub, shard: s, topic: t}
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

// leave takes the feed out. No event is queued for it afterwards.
func (f *feed) leave() {
	s := f.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.state == gone {
		return
	}
	f.state = gone
	feeds := f.topic.feeds
	if i := slices.Index(feeds, f); i >= 0 {
		last := len(feeds) - 1
		feeds[i] = feeds[last]
		feeds[last] = nil
		f.topic.feeds = feeds[:last]
	}
	s.dropUnused(f.topic)
}

// isUpToDate reports whether nothing is missing before the next delivery. The caller holds the
// shard's mu.
func (f *feed) isUpToDate() bool { return f.next > f.lastKnown() }

// lastKnown is the seq of the newest event that is known to exist. The caller holds the shard's mu.
func (f *feed) lastKnown() int64 { return max(f.topic.chain.Newest(), f.known) }

// beginAfter sets what the feed has shown, and what is known to exist.
func (f *feed) beginAfter(seq, known int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	f.next = seq + 1
	f.known = known
}

// progress returns what the feed needs next, and how far events are known to go.
func (f *feed) progress() (next, known int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.next, f.lastKnown()
}
