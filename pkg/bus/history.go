package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// History gives the events of all accounts from the ledger, in an order that keeps that of each
// account's Seq. history.FromLedger makes one of a client of the core.
type History interface {
	// ReadHistory returns a page of events. The same query returns the same events again, and
	// further ones at the end if there are more by then. If the ledger went back to an earlier time
	// and does not have the event of the cursor, the error is a *CursorChangedError.
	ReadHistory(ctx context.Context, q HistoryQuery) (HistoryPage, error)
}

// HistoryQuery selects a page.
type HistoryQuery struct {
	Cursor string    // HistoryPage.Next of the page before; empty: the first page
	From   time.Time // the time at which the first page begins; zero: the first event
	Limit  int       // the largest number of events, 1 to 1000
}

// HistoryPage is a page of the history.
type HistoryPage struct {
	Events []HistoryEvent
	Next   string // the cursor of the following page; never empty
	More   bool   // false: the reader has all events that were committed before the call
}

// HistoryEvent is an event for one account.
type HistoryEvent struct {
	Delivery
	Key string // the deduplication key of its transaction and account: a UUIDv7, a colon and a word
}

// ErrCursorChanged means that the ledger went back to an earlier time.
var ErrCursorChanged = errors.New("the ledger went back to an earlier time")

// CursorChangedError has the cursor from which to continue. It matches ErrCursorChanged.
type CursorChangedError struct {
	Next  string
	Since time.Time // events from this time on may never have happened
}

func (e *CursorChangedError) Error() string {
	return fmt.Sprintf("%v: events from about %s on may be void", ErrCursorChanged, e.Since.Format(TimeFormat))
}

// Is reports whether target is ErrCursorChanged.
func (e *CursorChangedError) Is(target error) bool { return target == ErrCursorChanged }

// FromFirstEvent is the value of Subscription.Since that selects all events of the ledger.
var FromFirstEvent = time.Unix(0, 0)
