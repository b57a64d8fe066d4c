package ws

import (
	"context"
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws/internal/recent"
)

// pageEvents is the number of events that one call of History requests. It is the maximum of the
// core's API.
const pageEvents = 1000

var errNoHistory = errors.New("no history is configured")

// fetchState returns an account's balance that includes at least the event with seq atLeast. It
// takes the balance from the snapshots if it is new enough, and otherwise from the ledger. An
// account that the ledger does not have has zero balances and seq 0.
func (h *Hub) fetchState(ctx context.Context, account string, atLeast int64) (bus.Balance, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
	defer cancel()

	var snapshotErr error
	if h.snapshots != nil {
		b, ok, err := h.snapshots.Get(ctx, account)
		switch {
		case err != nil:
			snapshotErr = fmt.Errorf("read snapshot: %w", err)
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

// fetchBalance returns the balance from the ledger.
func (h *Hub) fetchBalance(ctx context.Context, account string) (bus.Balance, error) {
	if h.history == nil {
		return bus.Balance{}, errNoHistory
	}

	err := h.acquireFetchSlot(ctx)
	if err != nil {
		return bus.Balance{}, err
	}
	defer h.releaseFetchSlot()

	b, ok, err := h.history.Balance(ctx, account)
	if err != nil {
		return bus.Balance{}, fmt.Errorf("read balance: %w", err)
	}

	if !ok {
		return bus.Balance{Account: account}, nil
	}

	return b, nil
}

// An eventPage is the result of one call of History. All callers of fetchEvents that asked for the
// same page share it.
type eventPage struct {
	events []*event
	last   int64
}

// fetchEvents returns the account's events after the seq after, oldest first and without a gap, and
// the newest seq in the ledger. It returns at most one page. Subscribers that met the same gap
// share one call of History.
func (h *Hub) fetchEvents(
	ctx context.Context, account string, after int64,
) (events []*event, last int64, err error) {
	if h.history == nil {
		return nil, 0, errNoHistory
	}

	key := fmt.Sprintf("%s %d", account, after)
	result, err, _ := h.eventFetches.Do(key, func() (any, error) {
		return h.fetchPage(ctx, account, after)
	})

	page, _ := result.(eventPage)
	return page.events, page.last, err
}

func (h *Hub) fetchPage(ctx context.Context, account string, after int64) (eventPage, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
	defer cancel()
	err := h.acquireFetchSlot(ctx)
	if err != nil {
		return eventPage{}, err
	}
	defer h.releaseFetchSlot()

	limit := min(pageEvents, h.cfg.MaxReplay)
	deliveries, last, err := h.history.Events(ctx, account, after, limit)
	if err != nil {
		return eventPage{}, fmt.Errorf("read history: %w", err)
	}

	page := eventPage{
		last:   last,
		events: make([]*event, 0, len(deliveries)),
	}

	for i := range deliveries {
		d := &deliveries[i]
		want := after + 1 + int64(i)
		if d.Seq != want || d.Account != account {
			return eventPage{}, fmt.Errorf("read history: got seq %d, want %d", d.Seq, want)
		}

		e := recent.NewEvent(d, d.ForAccount())
		e.Millis = 0 // the latency of an old event must not be measured
		page.events = append(page.events, e)
	}

	return page, nil
}

// acquireFetchSlot waits until fewer than Config.Fetches calls of History are in progress.
func (h *Hub) acquireFetchSlot(ctx context.Context) error {
	select {
	case h.fetchSlots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a call of the history: %w", ctx.Err())
	}
}

func (h *Hub) releaseFetchSlot() {
	<-h.fetchSlots
}
