// Package history reads the ledger's history for subscribers of a bus over the core's HTTP API.
package history

import (
	"context"
	"errors"
	"fmt"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/client"
)

// FromLedger returns the history of a ledger. Its token must have the scope events:all.
func FromLedger(ledger *client.Ledger) bus.History { return ledgerHistory{ledger} }

type ledgerHistory struct{ ledger *client.Ledger }

// ReadHistory implements bus.History.
func (h ledgerHistory) ReadHistory(ctx context.Context, q bus.HistoryQuery) (bus.HistoryPage, error) {
	page, err := h.ledger.AllEventsPage(ctx, client.AllEventsFilter{
		Cursor: q.Cursor,
		From:   q.From,
		Limit:  q.Limit,
	})
	var problem *client.Problem
	if errors.As(err, &problem) && problem.Code == client.ErrHistoryChanged {
		return bus.HistoryPage{}, &bus.CursorChangedError{Next: problem.Next, Since: problem.Since}
	}
	if err != nil {
		return bus.HistoryPage{}, err
	}

	events := make([]bus.HistoryEvent, len(page.Events))
	for i := range page.Events {
		events[i], err = convertEvent(&page.Events[i])
		if err != nil {
			return bus.HistoryPage{}, err
		}
	}
	return bus.HistoryPage{Events: events, Next: page.Next, More: page.More}, nil
}

func convertEvent(e *client.StreamEvent) (bus.HistoryEvent, error) {
	chain, err := bus.ParseChain(e.Chain)
	if err != nil {
		return bus.HistoryEvent{}, fmt.Errorf("event %s: %w", e.ID, err)
	}
	return bus.HistoryEvent{
		Key: e.Key,
		Delivery: bus.Delivery{
			ID:          e.ID,
			Type:        e.Type,
			Account:     e.Account,
			Seq:         e.Seq,
			Chain:       chain,
			Amount:      e.Amount,
			Reason:      e.Reason,
			Feature:     e.Feature,
			Data:        e.Data,
			View:        e.View,
			SecondParty: e.Copy,
		},
	}, nil
}
