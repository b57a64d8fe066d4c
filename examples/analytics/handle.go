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

// analyst counts the events that the bus delivers, and serves the counts over HTTP.
type analyst struct {
	counts   *counts
	remember time.Duration
}

// Handle implements bus.Handler.
func (a *analyst) Handle(ctx context.Context, e *bus.Event) error {
	var data struct {
		Timestamp time.Time `json:"timestamp"`
	}
	err := json.Unmarshal(e.Data, &data)
	if err != nil {
		return bus.Permanent(err)
	}
	if data.Timestamp.IsZero() {
		return bus.Permanent(fmt.Errorf("event %s must have a timestamp", e.ID))
	}

	if minuteNumber(data.Timestamp) < minuteNumber(a.oldestTime()) {
		return bus.Permanent(fmt.Errorf("event %s must be at most %s old, but its timestamp is %s", e.ID, a.remember, data.Timestamp))
	}

	return a.counts.addEvent(ctx, event{
		id:        e.ID,
		eventType: e.Type,
		reason:    e.Reason,
		feature:   e.Feature,
		points:    e.Amount,
		time:      data.Timestamp,
	})
}

// oldestTime returns the oldest timestamp that an event may have.
func (a *analyst) oldestTime() time.Time { return time.Now().Add(-a.remember) }

// deleteOldIDs deletes old event ids until ctx ends. It keeps them an hour longer than Handle needs
// them. So it never deletes an id while Handle counts the event.
func (a *analyst) deleteOldIDs(ctx context.Context) error {
	const interval = 10 * time.Minute
	tick := time.NewTicker(interval)
	defer tick.Stop()

	for {
		err := a.counts.deleteIDs(ctx, a.oldestTime().Add(-time.Hour))
		if err != nil && ctx.Err() == nil {
			slog.Error("deleting old event ids failed; retrying", "delay", interval, "error", err)
		}

		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const maxRows = 10_000

// serveMinutes answers GET /minutes?from=&to=&type= with at most maxRows rows. Without from and to
// it answers with the last hour.
func (a *analyst) serveMinutes(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	now := time.Now()
	from, err := parseTime(q.Get("from"), now.Add(-time.Hour))
	if err != nil {
		http.Error(w, "from "+err.Error(), http.StatusBadRequest)
		return
	}

	to, err := parseTime(q.Get("to"), now.Add(time.Minute))
	if err != nil {
		http.Error(w, "to "+err.Error(), http.StatusBadRequest)
		return
	}

	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	rows, err := a.counts.listRows(ctx, from, to, q.Get("type"), maxRows+1)
	if err != nil {
		slog.Error("reading the counts failed", "error", err)
		http.Error(w, "the counts could not be read", http.StatusInternalServerError)
		return
	}

	w.Header().Set("Content-Type", "application/json")
	// Encode fails only if the client has disconnected.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"minutes": rows[:min(len(rows), maxRows)],
		"more":    len(rows) > maxRows,
	})
}

// parseTime parses a time in RFC 3339. It returns fallback for an empty text.
func parseTime(text string, fallback time.Time) (time.Time, error) {
	if text == "" {
		return fallback, nil
	}

	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("must be a time such as 2026-11-24T00:00:00Z, but is %.40q", text)
	}
	return t, nil
}
