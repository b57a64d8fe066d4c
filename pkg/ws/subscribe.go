package ws

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/pkg/bus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

const (
	everyAccount   = "*"
	maxSubName     = 64  // bytes
	maxFilterValue = 128 // bytes
)

// request is a subscribe frame that was found good.
type request struct {
	name     string
	accounts []string // nil: every account
	filter   filter
	after    map[string]int64
	snapshot bool
}

// check turns the frame into a request, or says what is wrong with it.
func (s *session) check(f *protocol.ClientFrame, identity *Identity) (request, *protocol.Refusal) {
	cfg := &s.hub.cfg
	r := request{after: f.After, snapshot: f.Snapshot == nil || *f.Snapshot}
	if f.Sub == nil || *f.Sub == "" || len(*f.Sub) > maxSubName || !utf8.ValidString(*f.Sub) {
		return r, protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf("sub is a name of 1 to %d bytes", maxSubName))
	}
	r.name = *f.Sub
	for _, l := range []struct {
		name   string
		values []string
		into   *[]string
	}{{"types", f.Types, &r.filter.types}, {"reasons", f.Reasons, &r.filter.reasons}, {"features", f.Features, &r.filter.features}} {
		if l.values == nil {
			continue
		}
		if len(l.values) > cfg.MaxFilterValues {
			s.hub.metrics.limit(limitFilterValues)
		}
		if len(l.values) == 0 || len(l.values) > cfg.MaxFilterValues {
			return r, protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf("%s has 1 to %d values; leave it out to get all", l.name, cfg.MaxFilterValues))
		}
		for _, v := range l.values {
			if v == "" || len(v) > maxFilterValue {
				return r, protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf("a value in %s has 1 to %d bytes", l.name, maxFilterValue))
			}
		}
		*l.into = l.values
	}
	if f.MinAmount != nil {
		if *f.MinAmount < 1 || *f.MinAmount > protocol.MaxAmount {
			return r, protocol.Refuse(protocol.CodeBadRequest, "minAmount is a whole number from 1 to 9007199254740991")
		}
		r.filter.minAmount = *f.MinAmount
	}
	refused := s.checkAccounts(&r, f, identity)
	return r, refused
}

func (s *session) checkAccounts(r *request, f *protocol.ClientFrame, identity *Identity) *protocol.Refusal {
	names := f.Accounts
	if names == nil {
		if names = identity.Accounts; len(names) == 0 {
			return protocol.Refuse(protocol.CodeForbidden, "the token names no account: name the accounts")
		}
	}
	if slices.Contains(names, everyAccount) {
		switch {
		case len(names) != 1:
			return protocol.Refuse(protocol.CodeBadRequest, `"*" stands alone in accounts`)
		case len(f.After) > 0:
			return protocol.Refuse(protocol.CodeBadRequest, `"*" is live only: it has no after`)
		case !identity.AllAccounts:
			return protocol.Refuse(protocol.CodeForbidden, "the token does not cover every account")
		}
		return nil
	}
	if len(names) > s.hub.cfg.MaxAccounts {
		s.hub.metrics.limit(limitAccounts)
	}
	if len(names) == 0 || len(names) > s.hub.cfg.MaxAccounts {
		return protocol.Refuse(protocol.CodeBadRequest, fmt.Sprintf("a subscription has 1 to %d accounts", s.hub.cfg.MaxAccounts))
	}
	r.accounts = make([]string, 0, len(names))
	for _, a := range names {
		if !bus.ValidAccount(a) {
			return protocol.Refuse(protocol.CodeBadRequest, "an account is user:<id> or model:<id>")
		}
		if !slices.Contains(r.accounts, a) {
			r.accounts = append(r.accounts, a)
		}
	}
	for _, a := range r.accounts {
		if !identity.maySee(a) {
			return protocol.Refuse(protocol.CodeForbidden, "the token does not cover "+a)
		}
	}
	for a, seq := range f.After {
		if seq < 0 || seq > protocol.MaxAmount || !slices.Contains(r.accounts, a) {
			return protocol.Refuse(protocol.CodeBadRequest, "after gives a seq from 0 on for accounts of the subscription")
		}
	}
	return nil
}

// subscribe handles the client's frame. It returns when the client is live, or
// with a refusal and nothing opened.
func (s *session) subscribe(f *protocol.ClientFrame) *protocol.Refusal {
	s.mu.Lock()
	identity := s.identity
	s.mu.Unlock()
	r, refused := s.check(f, identity)
	if refused != nil {
		return refused
	}
	sub := &subscription{session: s, name: r.name, quoted: protocol.Quote(r.name), filter: r.filter, allAccounts: r.accounts == nil}
	if refused := s.reserve(sub); refused != nil {
		return refused
	}
	if sub.allAccounts {
		s.enqueue(item{frame: protocol.SubscribedFrame(sub.quoted, []protocol.SubscribedAccount{{Account: everyAccount}})})
		s.hub.addAllAccounts(sub)
		s.transport.flush()
		return nil
	}
	// From here on deliveries wait: whatever the tail has passed on before is in the
	// snapshot, whatever comes is in the memory.
	for _, a := range r.accounts {
		sub.feeds = append(sub.feeds, s.hub.shards[shardOf(a)].join(sub, a))
	}
	starts := make([]start, len(sub.feeds))
	for i, feed := range sub.feeds {
		var err error
		if starts[i], err = s.hub.open(feed, &r); err != nil {
			s.hub.cfg.Logger.Warn("subscription refused: neither snapshot nor history", "error", err)
			if s.forget(sub.name) != nil {
				sub.close()
			}
			return protocol.Refuse(protocol.CodeSnapshotUnavailable, "the state of an account cannot be had at the moment; try again")
		}
	}
	s.answer(sub, starts, r.snapshot)
	for i, feed := range sub.feeds {
		if err := s.catchUp(s.hub.base, feed, starts[i].page, s.transport.flush); err != nil {
			s.startRepair(feed) // tries again beside this goroutine
		}
	}
	s.transport.flush()
	return nil
}

// reserve takes the name, so that limits hold.
func (s *session) reserve(sub *subscription) *protocol.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.find(sub.name) >= 0:
		return protocol.Refuse(protocol.CodeDuplicateSubscription, "a subscription of that name is open")
	case len(s.subs) >= s.hub.cfg.MaxSubscriptions:
		s.hub.metrics.limit(limitSubscriptions)
		return protocol.Refuse(protocol.CodeTooManySubscriptions, fmt.Sprintf("a connection has at most %d subscriptions", s.hub.cfg.MaxSubscriptions))
	}
	s.subs = append(s.subs, sub)
	s.fresh.Store(time.Now().UnixMilli())
	s.hub.metrics.subscriptions.Inc()
	return nil
}

// answer queues the subscribed frame, and the resync frames that belong to it.
func (s *session) answer(sub *subscription, starts []start, snapshots bool) {
	accounts := make([]protocol.SubscribedAccount, len(starts))
	for i, st := range starts {
		accounts[i] = protocol.SubscribedAccount{Account: sub.feeds[i].topic.account, Seq: st.seq, Recovered: st.recovered}
		if snapshots && !st.recovered {
			accounts[i].Snapshot = &st.balance
		}
	}
	s.enqueue(item{frame: protocol.SubscribedFrame(sub.quoted, accounts)})
	for _, st := range starts {
		if st.resync {
			s.hub.metrics.resyncs.Inc()
			s.enqueue(item{frame: protocol.ResyncFrame(sub.quoted, st.balance)})
		}
	}
}
