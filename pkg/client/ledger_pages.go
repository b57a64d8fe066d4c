package client

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// EntriesFilter selects entries. An empty field selects all.
type EntriesFilter struct {
	Reason string    // only entries with this reason
	From   time.Time // inclusive
	To     time.Time // exclusive
}

// EscrowsFilter selects escrows. An empty field selects all.
type EscrowsFilter struct {
	Status string // such as StatusHeld
}

// pageSize is the number of items in a page, the most that a core returns.
const pageSize = "1000"

// Entries returns the ledger entries of an account, the newest first. It reads a page at a time, so
// break off the loop as soon as you have enough. An error ends the sequence.
func (l *Ledger) Entries(ctx context.Context, account string, filter EntriesFilter) iter.Seq2[Entry, error] {
	query := url.Values{"limit": {pageSize}}
	setText(query, "reason", filter.Reason)
	setTime(query, "from", filter.From)
	setTime(query, "to", filter.To)
	return listPages(func() ([]Entry, string, error) {
		var p entriesPage
		err := l.get(ctx, "entries of "+account, accountPath(account, "entries"), query, &p)
		return p.Entries, p.Next, err
	}, query)
}

// Escrows returns the escrows of a user, the newest first. It reads a page at a time. An error ends
// the sequence.
func (l *Ledger) Escrows(ctx context.Context, user string, filter EscrowsFilter) iter.Seq2[Escrow, error] {
	query := url.Values{"limit": {pageSize}}
	setText(query, "status", filter.Status)
	return listPages(func() ([]Escrow, string, error) {
		var p escrowsPage
		err := l.get(ctx, "escrows of "+user, accountPath(user, "escrows"), query, &p)
		return p.Escrows, p.Next, err
	}, query)
}

// Events returns the events of an account with a seq greater than after, the oldest first, up to the
// newest. It reads a page at a time. An error ends the sequence. To get the events that follow, use
// Dial and Client.Events.
func (l *Ledger) Events(ctx context.Context, account string, after int64) iter.Seq2[LedgerEvent, error] {
	return func(yield func(LedgerEvent, error) bool) {
		name := "events of " + account
		for {
			var p eventsPage
			query := url.Values{"limit": {pageSize}, "after": {strconv.FormatInt(after, 10)}}
			err := l.get(ctx, name, accountPath(account, "events"), query, &p)
			if err != nil {
				yield(LedgerEvent{}, err)
				return
			}
			for _, e := range p.Events {
				if e.Account != account || e.Seq != after+1 {
					yield(LedgerEvent{}, fmt.Errorf("client: %s: seq %d must follow, got %d of %s", name, after+1, e.Seq, e.Account))
					return
				}
				e.Event, err = DecodeEvent(e.JSON)
				if err != nil {
					yield(LedgerEvent{}, fmt.Errorf("client: %s: seq %d: %w", name, e.Seq, err))
					return
				}
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if after >= *p.Last {
				return
			}
			if len(p.Events) == 0 {
				yield(LedgerEvent{}, fmt.Errorf("client: %s: the events after seq %d must follow, up to %d", name, after, *p.Last))
				return
			}
		}
	}
}

// listPages returns the items of all pages. readPage reads a page and returns the cursor of the next
// one, which listPages sets in the query.
func listPages[T any](readPage func() ([]T, string, error), query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query.Del("before") // the sequence may be used again
		for {
			items, next, err := readPage()
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			query.Set("before", next)
		}
	}
}

func setText(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setTime(query url.Values, name string, value time.Time) {
	if !value.IsZero() {
		query.Set(name, formatTime(value))
	}
}

// The pages of lists, as in answers.
type (
	entriesPage struct {
		Entries []Entry `json:"entries"`
		Next    string  `json:"next,omitempty"`
	}
	escrowsPage struct {
		Escrows []Escrow `json:"escrows"`
		Next    string   `json:"next,omitempty"`
	}
	eventsPage struct {
		Events []LedgerEvent `json:"events"`
		Last   *int64        `json:"last"`
	}
)

func (p *entriesPage) isComplete() bool { return p.Entries != nil }
func (p *escrowsPage) isComplete() bool { return p.Escrows != nil }
func (p *eventsPage) isComplete() bool  { return p.Events != nil && p.Last != nil }
