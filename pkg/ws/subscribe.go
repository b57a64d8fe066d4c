package ws

import (
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// subscribe handles the client's frame. It returns when the client is live, or with a refusal and
// nothing opened.
func (s *session) subscribe(f *protocol.ClientFrame) *protocol.Refusal {
	r, refused := s.hub.validateSubscribe(f, s.currentIdentity())
	if refused != nil {
		return refused
	}
	sub := &subscription{
		session:     s,
		name:        r.name,
		quotedName:  protocol.Quote(r.name),
		filter:      r.filter,
		allAccounts: r.accounts == nil,
	}
	if refused := s.reserveSub(sub); refused != nil {
		return refused
	}
	if sub.allAccounts {
		s.enqueueFrame(protocol.SubscribedFrame(sub.quotedName, []protocol.SubscribedAccount{{Account: everyAccount}}))
		s.hub.addAllAccounts(sub)
		s.transport.flushQueue()
		return nil
	}
	return s.openSub(sub, r)
}

// openSub finds out where the subscription's accounts begin, and brings them up to date.
func (s *session) openSub(sub *subscription, r *request) *protocol.Refusal {
	// From here on deliveries wait: what the tail has passed on before is in the snapshot, and what
	// comes is in the memory.
	for _, account := range r.accounts {
		shard := &s.hub.shards[shardOf(account)]
		sub.feeds = append(sub.feeds, shard.addFeed(sub, account))
	}
	starts := make([]feedStart, len(sub.feeds))
	for i, feed := range sub.feeds {
		start, err := s.hub.openFeed(feed, r)
		if err != nil {
			s.hub.cfg.Logger.Warn("subscription refused: neither snapshot nor history", "error", err)
			if s.forgetSub(sub.name) != nil {
				sub.close()
			}
			return protocol.Refuse(protocol.CodeSnapshotUnavailable, "the state of an account is not available at the moment; try again")
		}
		starts[i] = start
	}
	s.enqueueStarts(sub, starts, r.snapshot)
	for i, feed := range sub.feeds {
		if err := s.catchUp(s.hub.base, feed, starts[i].page, s.transport.flushQueue); err != nil {
			s.startRepair(feed) // tries again beside this goroutine
		}
	}
	s.transport.flushQueue()
	return nil
}

// reserveSub takes the name, so that limits hold.
func (s *session) reserveSub(sub *subscription) *protocol.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findSub(sub.name) >= 0 {
		return protocol.Refuse(protocol.CodeDuplicateSubscription, "a subscription of that name is open")
	}
	most := s.hub.cfg.MaxSubscriptions
	if len(s.subs) >= most {
		s.hub.metrics.countLimit(limitSubscriptions)
		return protocol.Refuse(protocol.CodeTooManySubscriptions, fmt.Sprintf("a connection has at most %d subscriptions", most))
	}
	s.subs = append(s.subs, sub)
	s.newestSub.Store(time.Now().UnixMilli())
	s.hub.metrics.subscriptions.Inc()
	return nil
}

// enqueueStarts queues the subscribed frame, and the resync frames that belong to it.
func (s *session) enqueueStarts(sub *subscription, starts []feedStart, snapshots bool) {
	accounts := make([]protocol.SubscribedAccount, len(starts))
	for i := range starts {
		start := &starts[i]
		accounts[i].Account = sub.feeds[i].topic.account
		accounts[i].Seq = start.seq
		accounts[i].Recovered = start.recovered
		if snapshots && !start.recovered {
			accounts[i].Snapshot = &start.balance
		}
	}
	s.enqueueFrame(protocol.SubscribedFrame(sub.quotedName, accounts))
	for i := range starts {
		if starts[i].resync {
			s.hub.metrics.resyncs.Inc()
			s.enqueueFrame(protocol.ResyncFrame(sub.quotedName, starts[i].balance))
		}
	}
}
