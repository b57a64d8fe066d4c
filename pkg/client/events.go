package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Item is one element of Events: an event or a resync.
type Item struct {
	Account string
	Seq     int64  // the position after this item: store it with Chain to resume with Filter.After
	Chain   string // identifies the account's history up to Seq
	// Event is nil for a resync.
	Event Event
	// JSON is the event as the gateway sent it. It is nil for a resync.
	JSON json.RawMessage
	// Resync is nil for an event.
	Resync *Resync

	retry error // for Filter.OnRetry, and not an item of the sequence
}

// ResyncReason says why the state of an account is replaced.
type ResyncReason string

const (
	// HistoryUnavailable says that the events up to Item.Seq cannot be had.
	HistoryUnavailable ResyncReason = "history_unavailable"
	// HistoryChanged says that the ledger went back: events after the common point never happened.
	// Item.Seq may be lower than before.
	HistoryChanged ResyncReason = "history_changed"
	// Started begins an account if Filter.StartWithBalance is set.
	Started ResyncReason = "started"
	// EventsMissed says that a subscription to all accounts was interrupted, so events may be
	// missing. Item.Account is "*", and there is no balance.
	EventsMissed ResyncReason = "events_missed"
)

// Resync replaces what the app knows of an account. The account's events continue after Item.Seq.
type Resync struct {
	Reason  ResyncReason
	Balance *Balance // nil for EventsMissed
}

// Events subscribes and returns the sequence of the filter's events. For each account, each event
// comes once and in order, also through reconnects, or a Resync says that the state is replaced.
//
// The sequence ends with an error: that of ctx, ErrClosed, ErrUserSwitched, or an *Error if the
// gateway refuses the subscription. It also ends without one when the loop is left. Each range over
// the sequence is a subscription of its own.
//
// A slow loop loses nothing: when Config.QueueSize items wait, the client unsubscribes, and
// subscribes again after the last waiting item when half of them are read.
func (c *Client) Events(ctx context.Context, filter Filter) iter.Seq2[Item, error] {
	filter = filter.clone()
	return func(yield func(Item, error) bool) {
		r, err := c.addEventReader(filter)
		if err != nil {
			yield(Item{}, err)
			return
		}
		defer c.removeEventReader(r)
		for {
			item, ok, err := c.nextItem(r)
			switch {
			case ok && item.retry != nil:
				filter.OnRetry(item.retry)
				continue
			case ok:
				if !yield(item, nil) {
					return
				}
				continue
			case err != nil:
				yield(Item{}, err)
				return
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
				yield(Item{}, ctx.Err())
				return
			}
		}
	}
}

// eventReader is one loop over Events. The client's mu protects it.
type eventReader struct {
	sub            *subscription
	withStart      bool
	reportsRetries bool // the filter has OnRetry
	size           int
	queue          []Item
	err            error         // after the queue; nil: not ended
	wake           chan struct{} // has room for one signal
}

func (c *Client) addEventReader(filter Filter) (*eventReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Name == StateClosed {
		return nil, c.state.Err
	}
	r := &eventReader{
		withStart:      filter.StartWithBalance,
		reportsRetries: filter.OnRetry != nil,
		size:           c.cfg.QueueSize,
		wake:           make(chan struct{}, 1),
	}
	r.sub = c.addSubscription(filter, r)
	return r, nil
}

func (c *Client) removeEventReader(r *eventReader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.sub.remove()
}

// nextItem takes the oldest waiting item. Without one, err is the end of the sequence, or nil.
func (c *Client) nextItem(r *eventReader) (item Item, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(r.queue) == 0 {
		return Item{}, false, r.err
	}
	item = r.queue[0]
	r.queue[0] = Item{} // the array may live longer
	r.queue = r.queue[1:]
	if len(r.queue) <= r.size/2 {
		r.sub.unpause()
	}
	return item, true, nil
}

// start implements sink.
func (r *eventReader) start(account string, at Position, balance *Balance) {
	if !r.withStart || balance == nil {
		return
	}
	r.push(Item{
		Account: account,
		Seq:     at.Seq,
		Chain:   at.Chain,
		Resync:  &Resync{Reason: Started, Balance: balance},
	})
}

// addEvent implements sink.
func (r *eventReader) addEvent(item Item) bool {
	if len(r.queue) >= r.size {
		return false
	}
	r.push(item)
	return true
}

// addResync implements sink.
func (r *eventReader) addResync(item Item) bool { return r.addEvent(item) }

func (r *eventReader) push(item Item) {
	r.queue = append(r.queue, item)
	wakeReader(r.wake)
}

// fail implements sink.
func (r *eventReader) fail(err error) {
	r.err = err
	wakeReader(r.wake)
}

// retry implements sink. An error has no room in a full queue.
func (r *eventReader) retry(err error) {
	if r.reportsRetries {
		r.addEvent(Item{retry: err})
	}
}

// resume and interrupt implement sink. A loop over events waits meanwhile.
func (r *eventReader) resume(string)       {}
func (r *eventReader) interrupt(time.Time) {}
