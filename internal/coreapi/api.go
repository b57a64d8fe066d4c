package coreapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/openapi"
	weborigin "github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Ledger has the methods of the ledger that the API calls. *wallet.Ledger implements it.
type Ledger interface {
	Do(ctx context.Context, op wallet.Op) (wallet.Receipt, error)
	DoBatch(ctx context.Context, ops []wallet.Op) []wallet.Result
	Balance(ctx context.Context, a wallet.Account) (wallet.Balance, error)
	BalanceAt(ctx context.Context, a wallet.Account, t time.Time) (wallet.Balance, error)
	Entries(ctx context.Context, a wallet.Account, f wallet.EntryFilter, p wallet.Page) ([]wallet.Entry, string, error)
	Events(ctx context.Context, a wallet.Account, after int64, limit int) ([]wallet.AccountEvent, int64, error)
	AllEvents(ctx context.Context, q wallet.EventQuery) (wallet.EventPage, error)
	Escrow(ctx context.Context, id uuid.UUID) (wallet.Escrow, error)
	Escrows(ctx context.Context, user wallet.Account, status wallet.EscrowStatus, p wallet.Page) ([]wallet.Escrow, string, error)
	Transaction(ctx context.Context, id uuid.UUID) (wallet.Transaction, error)
}

// Verifier verifies tokens. *auth.Verifier implements it.
type Verifier = httpserver.Verifier

// Config has the optional settings of an API.
type Config struct {
	Timeout        time.Duration         // limits how long a request waits for the ledger. Defaults to 10 s.
	MaxReads       int                   // limits the reads that run at the same time. Defaults to the ledger's default number of connections for reads.
	AllowedOrigins []string              // web pages, besides those of the core's own host, that may read; see package origin. Defaults to none.
	MaxBytes       int                   // limits the bytes of large requests and answers that are in memory. Defaults to 64 MiB.
	Keys           bus.Keys              // names the event streams. Defaults to namespace "rt", 64 partitions.
	Logger         *slog.Logger          // Defaults to slog.Default().
	Registerer     prometheus.Registerer // Defaults to no metrics.
	Tracer         trace.Tracer          // Defaults to no traces.
}

// API is the HTTP handler of the core.
type API struct {
	ledger    Ledger
	verifier  Verifier
	cfg       Config
	streams   string // the value of X-Event-Streams
	mux       *http.ServeMux
	readers   weborigin.Readers
	document  *openapi.Document
	metrics   *metrics
	reads     *readQueue
	transfers *transfers
	unmatched operationMetrics // metrics of requests that match no route
	buffers   buffers
	readLog   rate.Sometimes // limits the log lines about reads that the database did not answer
}

// New returns the handler of the API.
func New(l Ledger, v Verifier, cfg Config) *API {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}

	a := &API{
		ledger:   l,
		verifier: v,
		cfg:      cfg,
		streams:  cfg.Keys.WithDefaults().String(),
		mux:      http.NewServeMux(),
		readers:  newReaders(cfg.AllowedOrigins),
		metrics:  newMetrics(cfg.Registerer),
		readLog:  rate.Sometimes{First: 1, Interval: time.Minute},
	}
	a.reads = newReadQueue(cmp.Or(cfg.MaxReads, wallet.DefaultReadConns), a.metrics)
	a.transfers = newTransfers(cmp.Or(cfg.MaxBytes, defaultMaxTransfers), a.metrics)
	a.unmatched = a.metrics.ofOperation("unmatched")
	a.document = newDocument()
	a.addRoutes()
	a.addDocumentation()
	a.mux.HandleFunc("/", a.refuseUnmatched)
	return a
}

// OpenAPI returns the document of /openapi.json.
func (a *API) OpenAPI() ([]byte, error) { return a.document.JSON() }

// ServeHTTP answers a request. It refuses paths that ServeMux would redirect, because a POST does
// not survive a redirect.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isUncleanPath(r.URL.EscapedPath()) {
		a.refuseRequest(w, r, problem.New(http.StatusNotFound, "not_found", "Not found",
			"the path must not have empty or dot segments"))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// isUncleanPath reports whether the path has empty or dot segments.
func isUncleanPath(p string) bool {
	if strings.Contains(p, "//") {
		return true
	}
	return strings.Contains(p, "/.") && path.Clean(p) != strings.TrimSuffix(p, "/")
}

// Handle adds a route, for example the live page of `core dev`. Call it before serving.
func (a *API) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// refuseUnmatched answers a request that matches no route. The status is 405 if another method
// would match, and 404 otherwise.
func (a *API) refuseUnmatched(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		_, pattern := a.mux.Handler(other)
		if strings.HasPrefix(pattern, method+" ") {
			allowed = append(allowed, method)
		}
	}

	if len(allowed) == 0 {
		a.refuseRequest(w, r, problem.New(http.StatusNotFound, "not_found", "Not found",
			"the path is unknown; /docs lists all paths"))
		return
	}

	w.Header().Set("Allow", strings.Join(allowed, ", "))
	a.refuseRequest(w, r, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed",
		"the method must be "+strings.Join(allowed, " or ")))
}

// refuseRequest answers a request that matches no route.
func (a *API) refuseRequest(w http.ResponseWriter, r *http.Request, details *problem.Details) {
	c := call{w: w, r: r}
	c.setRequestID()

	problem.Write(w, details)
	a.unmatched.observeRequest(details.Status, time.Now())
}
