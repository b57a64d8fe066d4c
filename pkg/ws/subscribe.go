package ws

import (
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// handleSubscribe handles a subscribe frame. It returns nil when the feeds of the subscription are
// open, or a refusal when nothing was opened.
func (s *session) handleSubscribe(f *protocol.ClientFrame) *protocol.Refusal {
	r, refused := s.hub.validator.ValidateSubscribe(f, s.currentIdentity().tokenScope())
	if refused != nil {
		return refused
	}

	sub := &subscription{
		session:     s,
		name:        r.Name,
		quotedName:  protocol.Quote(r.Name),
		filter:      r.Filter,
		allAccounts: r.Accounts == nil,
	}

	refused = s.addSub(sub)
	if refused != nil {
		return refused
	}

	if sub.allAccounts {
		accounts := []protocol.SubscribedAccount{{Account: request.AllAccounts}}
		s.enqueueFrame(protocol.SubscribedFrame(sub.quotedName, accounts))
		s.hub.addAllAccounts(sub)
		s.transport.flushQueue()
		return nil
	}

	return s.openFeeds(sub, r)
}

// openFeeds finds the start of each account and catches up its feed.
func (s *session) openFeeds(sub *subscription, r *request.Request) *protocol.Refusal {
	// The feeds are added first. Earlier deliveries are then included in the snapshot, and later
	// deliveries are in the memory.
	for _, account := range r.Accounts {
		shard := &s.hub.shards[shardOf(account)]
		sub.feeds = append(sub.feeds, shard.addFeed(sub, account))
	}

	starts := make([]feedStart, len(sub.feeds))
	for i, feed := range sub.feeds {
		start, err := s.hub.openFeed(feed, r)
		if err != nil {
			return s.refuseUnavailable(sub, err)
		}

		starts[i] = start
	}

	s.enqueueStarts(sub, starts, r.Snapshot)

	for i, feed := range sub.feeds {
		err := s.catchUp(s.hub.baseCtx, feed, starts[i].page, s.transport.flushQueue)
		if err != nil {
			s.startRepair(feed) // another goroutine retries
		}
	}

	s.transport.flushQueue()
	return nil
}

// refuseUnavailable closes a subscription that cannot be opened because neither the snapshots nor
// the history are available.
func (s *session) refuseUnavailable(sub *subscription, err error) *protocol.Refusal {
	s.hub.cfg.Logger.Warn("opening a subscription failed; neither snapshot nor history is available",
		"error", err,
	)
	if s.removeSub(sub.name) != nil {
		sub.closeFeeds()
	}

	message := "the balance of an account is temporarily unavailable; try again later"
	return protocol.Refuse(protocol.CodeSnapshotUnavailable, message)
}

// addSub adds the subscription to the list, so that its name is taken and it counts towards the
// limit.
func (s *session) addSub(sub *subscription) *protocol.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.findSub(sub.name) >= 0 {
		code := protocol.CodeDuplicateSubscription
		return protocol.Refuse(code, "sub must not be the name of an open subscription")
	}

	limit := s.hub.cfg.MaxSubscriptions
	if len(s.subs) >= limit {
		s.hub.metrics.CountLimit(metrics.LimitSubscriptions)
		code := protocol.CodeTooManySubscriptions
		message := fmt.Sprintf("a connection must have at most %d subscriptions", limit)
		return protocol.Refuse(code, message)
	}

	s.subs = append(s.subs, sub)
	s.newestSub.Store(time.Now().UnixMilli())
	s.hub.metrics.Subscriptions.Inc()

	return nil
}

// enqueueStarts queues the subscribed frame and its resync frames.
func (s *session) enqueueStarts(sub *subscription, starts []feedStart, snapshots bool) {
	accounts := make([]protocol.SubscribedAccount, len(starts))
	for i := range starts {
		start := &starts[i]
		accounts[i].Account = sub.feeds[i].topic.account
		accounts[i].Seq = start.at.seq
		accounts[i].Chain = start.at.chain
		accounts[i].Recovered = start.kind == startRecovered
		if snapshots && start.kind != startRecovered {
			accounts[i].Snapshot = &start.balance.Balance
		}
	}

	s.enqueueFrame(protocol.SubscribedFrame(sub.quotedName, accounts))

	for i := range starts {
		start := &starts[i]
		if start.kind == startUnavailable || start.kind == startChanged {
			s.enqueueFrame(s.hub.resyncFrame(sub, start.balance, start.kind == startChanged))
		}
	}
}
