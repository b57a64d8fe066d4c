package ws

import (
	"slices"
	"sync"
)

// shards is how many parts the index has. Accounts are spread over them, so that
// ten thousand clients that subscribe at once do not hold up deliveries.
const shards = 64

// shard is a part of the index from accounts to feeds, with the memory of the
// same accounts.
type shard struct {
	mu     sync.Mutex // protects all of the shard and its feeds' state; send queues lock inside it
	topics map[string]*topic
	memory memory
}

// topic is what the shard knows about an account: who listens, what is in memory.
// It goes when there is neither.
type topic struct {
	account string
	chain   chain
	feeds   []*feed
}

type feedState uint8

const (
	catchingUp feedState = iota // deliveries wait in the memory while the feed catches up
	live                        // the next delivery passes if it is the next in seq
	gone                        // unsubscribed
)

// feed is one account of one subscription. All fields that change are protected
// by the shard's mutex; while the feed catches up, one goroutine works on it.
type feed struct {
	sub   *subscription
	shard *shard
	topic *topic
	state feedState
	next  int64 // seq of the event to come: everything lower has been shown, filtered out, or is in the snapshot
	want  int64 // events up to here are known to exist, so it may not go live before
}

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

// keep puts the event into memory and makes room. The caller holds mu.
func (s *shard) keep(t *topic, e *event) {
	s.memory.add(&t.chain, e)
	for s.memory.full() {
		old, position := s.memory.oldest()
		if t := s.topics[old.account]; t != nil {
			t.chain.forget(old, position)
			s.sweep(t)
		}
	}
}

// sweep lets go of a topic that nothing needs. The caller holds mu.
func (s *shard) sweep(t *topic) {
	if len(t.feeds) == 0 && t.chain.last == 0 {
		delete(s.topics, t.account)
	}
}

// join adds a feed that catches up for the account.
func (s *shard) join(sub *subscription, account string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topic(account)
	f := &feed{sub: sub, shard: s, topic: t}
	t.feeds = append(t.feeds, f)
	return f
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
	if i := slices.Index(f.topic.feeds, f); i >= 0 {
		last := len(f.topic.feeds) - 1
		f.topic.feeds[i] = f.topic.feeds[last]
		f.topic.feeds[last] = nil
		f.topic.feeds = f.topic.feeds[:last]
	}
	s.sweep(f.topic)
}
