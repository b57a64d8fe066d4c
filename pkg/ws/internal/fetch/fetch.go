// Package fetch reads balances and past events from the snapshots and the history. It limits the
// number of concurrent calls and their time.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// pageEvents is the number of events that one call of History requests. It is the maximum of the
// core's API.
const pageEvents = 1000

var (
	// ErrNoHistory says that the fetcher has no History.
	ErrNoHistory = errors.New("no history is configured")
	// errStale says that a balance is older than the events that the client has received.
	errStale = errors.New("the balance must include the events that were already sent")
)

// Snapshots is the interface ws.Snapshots.
type Snapshots interface {
	Get(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
	RequireSeq(account string, seq int64)
	Rewind(account string, seq int64)
}

// History is the interface ws.History.
type History interface {
	Events(
		ctx context.Context, account string, after int64, limit int,
	) (events []bus.Delivery, last int64, err error)
	Balance(ctx context.Context, account string) (b bus.Balance, ok bool, err error)
}

// Limits are the limits of a Fetcher.
type Limits struct {
	Timeout   time.Duration // of one call of Snapshots or History
	Calls     int           // concurrent calls of History
	MaxEvents int           // in one page
}

// A Fetcher reads balances and past events.
type Fetcher struct {
	snapshots Snapshots
	history   History
	limits    Limits
	pages     singleflight.Group // calls of fetchPage in progress
	slots     chan struct{}      // has an element for each call of History in progress
}

// New returns a Fetcher. snapshots or history may be nil.
func New(snapshots Snapshots, history History, limits Limits) *Fetcher {
	return &Fetcher{
		snapshots: snapshots,
		history:   history,
		limits:    limits,
		slots:     make(chan struct{}, limits.Calls),
	}
}

// A State is an account's balance.
type State struct {
	bus.Balance

	FromLedger bool // it was read from the ledger, and not from the snapshots
}

// FetchState returns an account's balance that includes at least the event with seq atLeast. It
// takes the balance from the snapshots if it is new enough, and otherwise from the ledger. An
// account that the ledger does not have has zero balances and seq 0.
func (f *Fetcher) FetchState(
	ctx context.Context, account string, atLeast int64,
) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, f.limits.Timeout)
	defer cancel()

	var snapshotErr error
	if f.snapshots != nil {
		b, ok, err := f.snapshots.Get(ctx, account)
		switch {
		case err != nil:
			snapshotErr = fmt.Errorf("read snapshot: %w", err)
		case ok && b.Seq >= atLeast:
			return State{Balance: b}, nil
		}
	}

	b, err := f.fetchBalance(ctx, account)
	if err != nil {
		return State{}, errors.Join(snapshotErr, err)
	}

	if b.Seq < atLeast {
		return State{}, errStale
	}

	return State{Balance: b, FromLedger: true}, nil
}

// FetchLedgerState returns an account's balance from the ledger. Without a History it returns the
// snapshot.
func (f *Fetcher) FetchLedgerState(ctx context.Context, account string) (State, error) {
	if f.history == nil {
		return f.FetchState(ctx, account, 0)
	}

	ctx, cancel := context.WithTimeout(ctx, f.limits.Timeout)
	defer cancel()
	b, err := f.fetchBalance(ctx, account)

	return State{Balance: b, FromLedger: true}, err
}

// RewindSnapshot makes the snapshots forget the account's events after seq.
func (f *Fetcher) RewindSnapshot(account string, seq int64) {
	if f.snapshots != nil {
		f.snapshots.Rewind(account, seq)
	}
}

// fetchBalance returns the balance from the ledger.
func (f *Fetcher) fetchBalance(ctx context.Context, account string) (bus.Balance, error) {
	if f.history == nil {
		return bus.Balance{}, ErrNoHistory
	}

	err := f.acquireSlot(ctx)
	if err != nil {
		return bus.Balance{}, err
	}
	defer f.releaseSlot()

	b, ok, err := f.history.Balance(ctx, account)
	if err != nil {
		return bus.Balance{}, fmt.Errorf("read balance: %w", err)
	}

	if !ok {
		return bus.Balance{Account: account}, nil
	}

	f.requireSeq(account, b.Seq)
	return b, nil
}

// requireSeq makes the snapshots include the ledger's event with the seq, because clients will be
// shown it.
func (f *Fetcher) requireSeq(account string, seq int64) {
	if f.snapshots != nil && seq > 0 {
		f.snapshots.RequireSeq(account, seq)
	}
}

// A Page is the result of one call of History. All callers of FetchEvents that asked for the same
// page share it.
type Page struct {
	Events []*recent.Event // oldest first and without a gap
	Last   int64           // the newest seq in the ledger
}

// A PageKey says which events are asked for. Callers with the same key share one call of History.
type PageKey struct {
	Account    string
	After      int64  // the page begins with the event after this seq
	Limit      int    // the maximum number of events
	Generation uint64 // of the account's history; a call of an earlier generation is not shared
	Newest     int64  // the newest seq that the caller knows; a call that began before that is not shared
}

// FetchEvents returns one page of an account's events. Subscribers that met the same gap share one
// call of History.
func (f *Fetcher) FetchEvents(ctx context.Context, key PageKey) (Page, error) {
	if f.history == nil {
		return Page{}, ErrNoHistory
	}

	key.Limit = min(key.Limit, pageEvents, f.limits.MaxEvents)
	name := fmt.Sprintf("%s %d %d %d %d", key.Account, key.After, key.Limit, key.Generation, key.Newest)
	result, err, _ := f.pages.Do(name, func() (any, error) {
		return f.fetchPage(ctx, key)
	})

	page, _ := result.(Page)
	return page, err
}

func (f *Fetcher) fetchPage(ctx context.Context, key PageKey) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, f.limits.Timeout)
	defer cancel()
	err := f.acquireSlot(ctx)
	if err != nil {
		return Page{}, err
	}
	defer f.releaseSlot()

	deliveries, last, err := f.history.Events(ctx, key.Account, key.After, key.Limit)
	if err != nil {
		return Page{}, fmt.Errorf("read history: %w", err)
	}

	isCut := len(deliveries) > 0 && deliveries[0].Seq > key.After+1
	if isCut {
		return Page{Last: last}, nil // the history does not have the first events
	}

	page := Page{
		Last:   last,
		Events: make([]*recent.Event, 0, len(deliveries)),
	}

	for i := range deliveries {
		d := &deliveries[i]
		want := key.After + 1 + int64(i)
		if d.Seq != want || d.Account != key.Account {
			return Page{}, fmt.Errorf("read history: got seq %d, want %d", d.Seq, want)
		}

		e := recent.NewEvent(d, d.ForAccount())
		e.Millis = 0 // the latency of an old event must not be measured
		page.Events = append(page.Events, e)
	}

	if len(page.Events) > 0 {
		f.requireSeq(key.Account, page.Events[len(page.Events)-1].Seq)
	}

	return page, nil
}

// acquireSlot waits until fewer than Limits.Calls calls of History are in progress.
func (f *Fetcher) acquireSlot(ctx context.Context) error {
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a call of the history: %w", ctx.Err())
	}
}

func (f *Fetcher) releaseSlot() {
	<-f.slots
}
