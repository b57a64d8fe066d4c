// Package coreadmin is the core's admin API: the outbox, reconciliation and dead letters. It is
// served on the admin listener, and each call needs a token with the scope admin.
package coreadmin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// Ledger is what the admin API needs of the ledger. *wallet.Ledger is one.
type Ledger interface {
	Auditor
	// Backlog returns the number of rows in the outbox and the time of the oldest.
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)
}

// Config is what the admin API works with. All fields are required.
type Config struct {
	Ledger     Ledger
	Redis      redis.UniversalClient
	Keys       bus.Keys
	CheckRedis func(context.Context) error // reports why events cannot be published
	Verifier   httpserver.Verifier
	Logger     *slog.Logger
}

// API is the admin API.
type API struct {
	cfg         Config
	reconciling sync.Mutex // held while a reconciliation runs
}

// New makes the admin API.
func New(cfg Config) *API { return &API{cfg: cfg} }

// Register adds the calls to an admin listener.
func (a *API) Register(listener *httpserver.Admin) {
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) *problem.Details{
		"GET /admin/outbox":                    a.getOutbox,
		"POST /admin/reconcile":                a.reconcileLedger,
		"GET /admin/dead-letters":              a.listDeadLetters,
		"POST /admin/dead-letters/{id}/replay": a.replayDeadLetter,
	} {
		listener.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refusal := handle(w, r); refusal != nil {
				problem.Write(w, refusal)
			}
		}))
	}
}

// requireAdmin requires a token with the scope admin.
func (a *API) requireAdmin(w http.ResponseWriter, r *http.Request) *problem.Details {
	return httpserver.CheckScope(w, r, a.cfg.Verifier, auth.ScopeAdmin)
}
