package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// analyst counts what the bus brings and tells what it counted.
type analyst struct {
	counts   *counts
	remember time.Duration
}

// Handle implements bus.Handler.
func (a *analyst) Handle(ctx context.Context, e *bus.Event) error {
	var data struct {
		Timestamp time.Time `json:"timestamp"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return bus.Permanent(err)
	}
	switch {
	case data.Timestamp.IsZero():
		return bus.Permanent(fmt.Errorf("event %s has no timestamp", e.ID))
	case minute(data.Timestamp) < minute(a.oldest()):
		return bus.Permanent(fmt.Errorf("event %s is of %s: ids are remembered for %s", e.ID, data.Timestamp, a.remember))
	}
	return a.counts.add(ctx, event{id: e.ID, kind: e.Type, reason: e.Reason, feature: e.Feature, points: e.Amount, at: data.Timestamp})
}

// oldest is when the oldest events were that still count.
func (a *analyst) oldest() time.Time { return time.Now().Add(-a.remember) }

// forget drops old ids until ctx ends. It keeps some longer than Handle asks for, so that none
// is dropped while its event is being counted.
func (a *analyst) forget(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		if err := a.counts.forget(ctx, a.oldest().Add(-time.Hour)); err != nil && ctx.Err() == nil {
			slog.Error("old ids stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const maxRows = 10_000

// minutes answers GET /minutes?from=&to=&type=: at most maxRows rows of the last hour, or of the time given.
func (a *analyst) minutes(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	now := time.Now()
	from, err := moment(q.Get("from"), now.Add(-time.Hour))
	if err != nil {
		http.Error(w, "from: "+err.Error(), http.StatusBadRequest)
		return
	}
	to, err := moment(q.Get("to"), now.Add(time.Minute))
	if err != nil {
		http.Error(w, "to: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	rows, err := a.counts.list(ctx, from, to, q.Get("type"), maxRows+1)
	if err != nil {
		slog.Error("list minutes", "error", err)
		http.Error(w, "the counts could not be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// An error here is that the client is gone.
	_ = json.NewEncoder(w).Encode(map[string]any{"minutes": rows[:min(len(rows), maxRows)], "more": len(rows) > maxRows})
}

func moment(text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%.40q is no time such as 2026-11-24T00:00:00Z", text)
	}
	return t, nil
}
