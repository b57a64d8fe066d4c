package coreadmin

import (
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// outboxState is the answer of GET /admin/outbox.
type outboxState struct {
	Backlog   int64   `json:"backlog"`            // transactions whose events Redis may not have yet
	OldestAge float64 `json:"oldestAgeSeconds"`   // 0: the outbox is empty
	OldestAt  string  `json:"oldestAt,omitempty"` // when the oldest was committed
	Redis     string  `json:"redis"`              // ok, or why events wait
}

// getOutbox answers with the length and the age of the outbox.
func (a *API) getOutbox(w http.ResponseWriter, r *http.Request) *problem.Details {
	if refusal := a.requireAdmin(w, r); refusal != nil {
		return refusal
	}
	if _, refusal := httpserver.Query(r); refusal != nil {
		return refusal
	}

	rows, oldest, err := a.cfg.Ledger.Backlog(r.Context())
	if err != nil {
		a.cfg.Logger.Error("counting the outbox failed", "err", err)
		return ledgerUnavailable()
	}

	state := outboxState{Backlog: rows, Redis: "ok"}
	if !oldest.IsZero() {
		state.OldestAge = time.Since(oldest).Seconds()
		state.OldestAt = oldest.UTC().Format(bus.TimeFormat)
	}
	if err := a.cfg.CheckRedis(r.Context()); err != nil {
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
