package ws

import (
	"fmt"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/feed"
	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// handleSubscribe handles a subscribe frame. It returns nil when the feeds of the subscription are
// open, or a refusal when nothing was opened.
func (s *session) handleSubscribe(f *protocol.ClientFrame) *protocol.Refusal {
	r, refused := s.hub.validator.ValidateSubscribe(f, s.currentIdentity().tokenScope())
	if refused != nil {
		return refused
	}

	sub := &feed.Subscription{
		Client:      &s.Client,
		Name:        r.Name,
		QuotedName:  protocol.Quote(r.Name),
		Filter:      r.Filter,
		AllAccounts: r.Accounts == nil,
	}

	refused = s.addSub(sub)
	if refused != nil {
		return refused
	}

	if sub.AllAccounts {
		err := sub.OpenAllAccounts()
		if err != nil {
			return s.refuseUnavailable(sub, err, "the gateway has just started and still reads the streams; try again later")
		}

		return nil
	}

	err := sub.OpenFeeds(r)
	if err != nil {
		return s.refuseUnavailable(sub, err, "the balance of an account is temporarily unavailable; try again later")
	}

	return nil
}

// refuseUnavailable closes a subscription that cannot be opened at the moment.
func (s *session) refuseUnavailable(sub *feed.Subscription, err error, message string) *protocol.Refusal {
	s.hub.cfg.Logger.Warn("opening a subscription failed", "error", err)
	if s.removeSub(sub.Name) != nil {
		s.closeSub(sub)
	}

	return protocol.Refuse(protocol.CodeSnapshotUnavailable, message)
}

// addSub adds the subscription to the list, so that its name is taken and it counts towards the
// limit.
func (s *session) addSub(sub *feed.Subscription) *protocol.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.findSub(sub.Name) >= 0 {
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
