package coreadmin

import (
	"net/http"
	"net/url"
	"time"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// outboxState is the answer of GET /admin/outbox.
type outboxState struct {
	Backlog   int64   `json:"backlog"`            // the number of transactions whose events may not be in Redis
	OldestAge float64 `json:"oldestAgeSeconds"`   // 0 if the outbox is empty
	OldestAt  string  `json:"oldestAt,omitempty"` // the commit time of the oldest transaction
	Redis     string  `json:"redis"`              // ok, or the error that delays events
}

// getOutbox answers with the length of the outbox and the age of its oldest row.
func (a *API) getOutbox(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	rows, oldest, err := a.cfg.Ledger.Backlog(r.Context())
	if err != nil {
		a.cfg.Logger.Error("counting the outbox failed", "error", err)
		return ledgerUnavailable()
	}

	state := outboxState{Backlog: rows, Redis: "ok"}
	if !oldest.IsZero() {
		state.OldestAge = time.Since(oldest).Seconds()
		state.OldestAt = oldest.UTC().Format(bus.TimeFormat)
	}

	err = a.cfg.CheckRedis(r.Context())
	if err != nil {
		state.Redis = err.Error()
	}
	httpserver.WriteJSON(w, http.StatusOK, state)
	return nil
}

func ledgerUnavailable() *problem.Details {
	d := problem.New(http.StatusServiceUnavailable, "unavailable", "Ledger unavailable",
		"the ledger's database did not answer; try again later")
	d.RetryAfter = 2
	return d
}
