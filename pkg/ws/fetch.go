package ws

import (
	"context"
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// pageEvents is how many events the history is asked for at once, the most that the core's API
// gives.
const pageEvents = 1000

var errNoHistory = errors.New("history: none is configured")

// fetchState returns an account's balance that includes at least the event with the given seq: from
// the snapshots if they are new enough, else from the ledger. An account that the ledger does not
// know has zero balances and seq 0.
func (h *Hub) fetchState(ctx context.Context, account string, atLeast int64) (bus.Balance, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
	defer cancel()
	var snapshotErr error
	if h.snapshots != nil {
		b, ok, err := h.snapshots.Get(ctx, account)
		switch {
		case err != nil:
			snapshotErr = fmt.Errorf("snapshot: %w", err)
		case ok && b.Seq >= atLeast:
			return b, nil
		}
	}
	b, err := h.fetchBalance(ctx, account)
	if err != nil {
		return bus.Balance{}, errors.Join(snapshotErr, err)
	}
	if b.Seq < atLeast {
		return bus.Balance{}, errStale
	}
	return b, nil
}

// fetchBalance asks the ledger.
func (h *Hub) fetchBalance(ctx context.Context, account string) (bus.Balance, error) {
	if h.history == nil {
		return bus.Balance{}, errNoHistory
	}
	if err := h.acquireFetch(ctx); err != nil {
		return bus.Balance{}, err
	}
	defer h.releaseFetch()
	b, ok, err := h.history.Balance(ctx, account)
	if err != nil {
		return bus.Balance{}, fmt.Errorf("history: %w", err)
	}
	if !ok {
		return bus.Balance{Account: account}, nil
	}
	return b, nil
}

// eventPage is the answer of one fetch, shared by all who asked for the same.
type eventPage struct {
	events []*event
	last   int64
}

// fetchEvents returns the account's events after that seq, oldest first and without a gap, at most
// a page, and the newest seq that the ledger has. Subscribers that met the same gap share one
// fetch.
func (h *Hub) fetchEvents(ctx context.Context, account string, after int64) ([]*event, int64, error) {
	if h.history == nil {
		return nil, 0, errNoHistory
	}
	got, err, _ := h.flights.Do(fmt.Sprintf("%s %d", account, after), func() (any, error) {
		return h.fetchPage(ctx, account, after)
	})
	page, _ := got.(eventPage)
	return page.events, page.last, err
}

func (h *Hub) fetchPage(ctx context.Context, account string, after int64) (eventPage, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
	defer cancel()
	if err := h.acquireFetch(ctx); err != nil {
		return eventPage{}, err
	}
	defer h.releaseFetch()
	deliveries, last, err := h.history.Events(ctx, account, after, min(pageEvents, h.cfg.MaxReplay))
	if err != nil {
		return eventPage{}, fmt.Errorf("history: %w", err)
	}
	page := eventPage{last: last, events: make([]*event, 0, len(deliveries))}
	for i := range deliveries {
		d := &deliveries[i]
		want := after + 1 + int64(i)
		if d.Seq != want || d.Account != account {
			return eventPage{}, fmt.Errorf("history: seq %d where %d belongs", d.Seq, want)
		}
		e := recent.NewEvent(d, d.ForAccount())
		e.Millis = 0 // its age is no latency
		page.events = append(page.events, e)
	}
	return page, nil
}

// acquireFetch takes one of the places for calls of History, which bound what the core has to bear.
func (h *Hub) acquireFetch(ctx context.Context) error {
	select {
	case h.fetches <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("history: %w", ctx.Err())
	}
}

func (h *Hub) releaseFetch() { <-h.fetches }
