// Package coreadmin is the admin API of the core: the outbox, reconciliation and dead letters. The
// admin listener serves it. Each call needs a token with the scope admin.
package coreadmin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// Ledger has the methods of the ledger that the admin API calls. *wallet.Ledger implements it.
type Ledger interface {
	Auditor
	// Backlog returns the number of rows in the outbox and the time of the oldest row.
	Backlog(ctx context.Context) (rows int64, oldest time.Time, err error)
}

// Config has the dependencies of the admin API. All fields are required.
type Config struct {
	Ledger     Ledger
	Redis      redis.UniversalClient
	Keys       bus.Keys
	CheckRedis func(context.Context) error // returns nil if events can be published
	Verifier   httpserver.Verifier
	Logger     *slog.Logger
}

// API is the admin API.
type API struct {
	cfg         Config
	reconciling sync.Mutex // held while a reconciliation runs
}

// New returns the admin API.
func New(cfg Config) *API { return &API{cfg: cfg} }

// Register adds the calls to an admin listener.
func (a *API) Register(listener *httpserver.Admin) {
	listener.Handle("GET /openapi.json", newDocument().Serve())
	listener.HandleCall("GET /admin/outbox", a.cfg.Verifier, a.getOutbox)
	listener.HandleCall("POST /admin/reconcile", a.cfg.Verifier, a.reconcileLedger)
	listener.HandleCall("GET /admin/dead-letters", a.cfg.Verifier, a.listDeadLetters, "group", "after", "limit")
	listener.HandleCall("POST /admin/dead-letters/{id}/replay", a.cfg.Verifier, a.replayDeadLetter)
}
