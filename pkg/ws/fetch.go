package ws

import (
	"context"
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// pageEvents is how many events the history is asked for at once, the most that
// the core's API gives.
const pageEvents = 1000

var errNoSource = errors.New("no source is configured")

// state gives an account's balance that includes at least the event with the given
// seq: the snapshot from near by when it will do, else the ledger's. An account
// that the ledger does not know has zero balances and seq 0.
func (h *Hub) state(ctx context.Context, account string, atLeast int64) (bus.Balance, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
	defer cancel()
	var first error
	if h.snapshots != nil {
		b, ok, err := h.snapshots.Get(ctx, account)
		switch {
		case err != nil:
			first = fmt.Errorf("snapshot: %w", err)
		case ok && b.Seq >= atLeast:
			return b, nil
		}
	}
	if h.history == nil {
		return bus.Balance{}, errors.Join(first, fmt.Errorf("history: %w", errNoSource))
	}
	if err := h.acquire(ctx); err != nil {
		return bus.Balance{}, errors.Join(first, err)
	}
	defer h.release()
	b, ok, err := h.history.Balance(ctx, account)
	switch {
	case err != nil:
		return bus.Balance{}, errors.Join(first, fmt.Errorf("history: %w", err))
	case !ok:
		b = bus.Balance{Account: account}
	}
	if b.Seq < atLeast {
		return bus.Balance{}, errStale
	}
	return b, nil
}

// page is the answer of one fetch, shared by all who asked for the same.
type page struct {
	events []*event
	last   int64
}

// events gives the account's events after that seq, oldest first and without a
// hole, at most a page, and the newest seq that the ledger has. Subscribers that
// met the same gap share one question.
func (h *Hub) events(ctx context.Context, account string, after int64) ([]*event, int64, error) {
	if h.history == nil {
		return nil, 0, fmt.Errorf("history: %w", errNoSource)
	}
	got, err, _ := h.flights.Do(fmt.Sprintf("%s %d", account, after), func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, h.cfg.FetchTimeout)
		defer cancel()
		if err := h.acquire(ctx); err != nil {
			return page{}, err
		}
		defer h.release()
		deliveries, last, err := h.history.Events(ctx, account, after, min(pageEvents, h.cfg.MaxReplay))
		if err != nil {
			return page{}, fmt.Errorf("history: %w", err)
		}
		p := page{last: last, events: make([]*event, 0, len(deliveries))}
		for i := range deliveries {
			d := &deliveries[i]
			if want := after + 1 + int64(i); d.Seq != want || d.Account != account {
				return page{}, fmt.Errorf("history: seq %d where %d belongs", d.Seq, want)
			}
			p.events = append(p.events, newEvent(d, d.ForAccount()))
			p.events[i].millis = 0 // not news: it says nothing about latency
		}
		return p, nil
	})
	p, _ := got.(page)
	return p.events, p.last, err
}

// acquire takes one of the places for calls of History, which the core has to bear.
func (h *Hub) acquire(ctx context.Context) error {
	select {
	case h.fetches <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("history: %w", ctx.Err())
	}
}

func (h *Hub) release() { <-h.fetches }
