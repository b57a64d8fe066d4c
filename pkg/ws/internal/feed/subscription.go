package feed

import (
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// A Subscription is a subscription of a client. It is immutable after it was opened.
type Subscription struct {
	Client      *Client
	Name        string
	QuotedName  []byte // as JSON
	Filter      request.Filter
	AllAccounts bool // ["*"]

	feeds []*Feed // one for each account; none for ["*"]
}

var errStarting = errors.New("the events from before the start have not been read from all streams")

// OpenAllAccounts opens a subscription to ["*"]. It waits until Deliver has received the events from
// before the start, since events that were published meanwhile may be among them and would be
// missing. After an error the subscription must be closed.
func (sub *Subscription) OpenAllAccounts() error {
	c := sub.Client
	timeout := time.NewTimer(c.index.cfg.FetchTimeout)
	defer timeout.Stop()
	select {
	case <-c.index.cfg.CaughtUp:
	case <-timeout.C:
		return errStarting
	case <-c.index.cfg.Context.Done():
		return errStarting
	}

	accounts := []protocol.SubscribedAccount{{Account: request.AllAccounts}}
	c.EnqueueFrame(protocol.SubscribedFrame(sub.QuotedName, accounts))
	c.index.addAllAccounts(sub)
	c.Transport.FlushQueue()
	return nil
}

// OpenFeeds finds the start of each account and catches up its feed. After an error the
// subscription must be closed.
func (sub *Subscription) OpenFeeds(r *request.Request) error {
	// The feeds are added first. Earlier deliveries are then included in the snapshot, and later
	// deliveries are in the memory.
	c := sub.Client
	for _, account := range r.Accounts {
		shard := &c.index.shards[shardOf(account)]
		sub.feeds = append(sub.feeds, shard.addFeed(sub, account))
	}

	starts := make([]feedStart, len(sub.feeds))
	for i, feed := range sub.feeds {
		start, err := c.index.openFeed(feed, r)
		if err != nil {
			return err
		}

		starts[i] = start
	}

	sub.enqueueStarts(starts, r.Snapshot)

	for i, feed := range sub.feeds {
		err := c.catchUp(c.index.cfg.Context, feed, starts[i].page, c.Transport.FlushQueue)
		if err != nil {
			c.startRepair(feed) // another goroutine retries
		}
	}

	c.Transport.FlushQueue()
	return nil
}

// enqueueStarts queues the subscribed frame and its resync frames.
func (sub *Subscription) enqueueStarts(starts []feedStart, snapshots bool) {
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

	sub.Client.EnqueueFrame(protocol.SubscribedFrame(sub.QuotedName, accounts))

	for i := range starts {
		start := &starts[i]
		if start.kind == startUnavailable || start.kind == startChanged {
			isChanged := start.kind == startChanged
			sub.Client.EnqueueFrame(sub.Client.index.resyncFrame(sub, start.balance, isChanged))
		}
	}
}

// CloseFeeds stops the events of the subscription. No event is queued for it afterwards.
func (sub *Subscription) CloseFeeds() {
	for _, f := range sub.feeds {
		f.leaveShard()
	}

	if sub.AllAccounts {
		sub.Client.index.removeAllAccounts(sub)
	}
}

// IsCoveredBy reports whether the scope of a token covers all accounts of the subscription.
func (sub *Subscription) IsCoveredBy(scope request.Scope) bool {
	if sub.AllAccounts {
		return scope.AllAccounts
	}

	for _, f := range sub.feeds {
		if !scope.CoversAccount(f.topic.account) {
			return false
		}
	}

	return true
}
