package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AllEventsFilter selects where the events of all accounts begin, and their types. The zero value
// selects all events from the first one on.
type AllEventsFilter struct {
	// Cursor continues after an earlier event: AllEventsPage.Next.
	Cursor string
	// From is the time at which the first page begins. It has events that are up to a minute older.
	// It is not used with a Cursor.
	From  time.Time
	Types []string // such as EventEscrowHeld; empty: all types
	// Limit is the largest number of events in a page, up to 1000. Defaults to 1000.
	Limit int
}

// AllEventsPage is a page of the events of all accounts.
type AllEventsPage struct {
	Events []StreamEvent `json:"events"`
	Next   string        `json:"next"` // the cursor of the following page; never empty
	More   bool          `json:"more"` // false: the reader has all events that were committed before the call
}

// StreamEvent is an event for one account, with the fields of an entry of the Redis streams.
type StreamEvent struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`   // the account's events have 1, 2, 3 and so on, without a gap
	Chain   string          `json:"chain"` // identifies the account's history up to this event
	Key     string          `json:"key"`   // the deduplication key of the transaction and the account
	Amount  int64           `json:"amount"`
	Reason  string          `json:"reason"`
	Feature string          `json:"feature,omitempty"`
	Copy    bool            `json:"copy,omitempty"` // the second party's item of an event
	Data    json.RawMessage `json:"event"`          // the full event
	View    json.RawMessage `json:"view,omitempty"` // the event as the account may see it; nil: as Data
}

func (p *AllEventsPage) isComplete() bool { return p.Events != nil && p.Next != "" }

// AllEventsPage returns a page of the events of all accounts. Their order keeps that of each
// account's seq. Reading needs the scope events:all.
//
// Keep Next with the effects of the page's events, and set it as the Cursor of the next call: then
// each event comes exactly once, also after a restart of this program or of the core. If More is
// false, wait for a moment before the next call.
//
// If the ledger went back to an earlier time, because a backup was restored or a failover lost
// commits, the error is a *Problem that matches ErrHistoryChanged. Its Next continues.
func (l *Ledger) AllEventsPage(ctx context.Context, filter AllEventsFilter) (AllEventsPage, error) {
	query := url.Values{"limit": {pageSize}}
	if filter.Limit > 0 {
		query.Set("limit", strconv.Itoa(filter.Limit))
	}
	setText(query, "types", strings.Join(filter.Types, ","))
	if filter.Cursor != "" {
		query.Set("cursor", filter.Cursor)
	} else {
		setTime(query, "from", filter.From)
	}

	var page AllEventsPage
	err := l.get(ctx, "events of all accounts", "/v1/events", query, &page)
	return page, err
}

// AllEvents returns the events of all accounts up to the newest one. It reads a page at a time. An
// error ends the sequence. A program that continues later keeps AllEventsPage.Next, so it calls
// AllEventsPage.
func (l *Ledger) AllEvents(ctx context.Context, filter AllEventsFilter) iter.Seq2[StreamEvent, error] {
	return func(yield func(StreamEvent, error) bool) {
		next := filter // the sequence may be used again
		for {
			page, err := l.AllEventsPage(ctx, next)
			if err != nil {
				yield(StreamEvent{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if !page.More {
				return
			}
			next.Cursor = page.Next
		}
	}
}
