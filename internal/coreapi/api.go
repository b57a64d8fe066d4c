package coreapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/plainjson"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// Ledger is what the API serves. *wallet.Ledger is one.
type Ledger interface {
	Do(ctx context.Context, op wallet.Op) (wallet.Receipt, error)
	DoBatch(ctx context.Context, ops []wallet.Op) []wallet.Result
	Balance(ctx context.Context, a wallet.Account) (wallet.Balance, error)
	BalanceAt(ctx context.Context, a wallet.Account, t time.Time) (wallet.Balance, error)
	Entries(ctx context.Context, a wallet.Account, f wallet.EntryFilter, p wallet.Page) ([]wallet.Entry, string, error)
	Events(ctx context.Context, a wallet.Account, after int64, limit int) ([]wallet.AccountEvent, int64, error)
	Escrow(ctx context.Context, id uuid.UUID) (wallet.Escrow, error)
	Escrows(ctx context.Context, user wallet.Account, status wallet.EscrowStatus, p wallet.Page) ([]wallet.Escrow, string, error)
	Transaction(ctx context.Context, id uuid.UUID) (wallet.Transaction, error)
}

// Verifier checks tokens. *auth.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, raw string) (*auth.Claims, error)
}

// Config is the API's optional settings.
type Config struct {
	Timeout    time.Duration         // how long one request may wait for the ledger. Defaults to 10 s.
	Keys       bus.Keys              // where the events are published. Defaults to namespace "rt", 16 partitions.
	Logger     *slog.Logger          // Defaults to slog.Default().
	Registerer prometheus.Registerer // Defaults to no metrics.
	Tracer     trace.Tracer          // Defaults to no traces.
}

// API is the HTTP handler of the core.
type API struct {
	ledger   Ledger
	verifier Verifier
	cfg      Config
	streams  string // X-Event-Streams
	mux      *http.ServeMux
	huma     huma.API
	metrics  *metrics
	bodies   bodies
}

// New makes the handler.
func New(l Ledger, v Verifier, cfg Config) *API {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	a := &API{ledger: l, verifier: v, cfg: cfg, streams: cfg.Keys.WithDefaults().String(), mux: http.NewServeMux(), metrics: newMetrics(cfg.Registerer)}
	a.huma = humago.New(a.mux, document())
	a.routes()
	a.documentation()
	a.mux.HandleFunc("/", a.unmatched)
	return a
}

// OpenAPI returns the document that /openapi.json serves, indented.
func (a *API) OpenAPI() ([]byte, error) { return json.MarshalIndent(a.huma.OpenAPI(), "", "  ") }

// ServeHTTP refuses paths that ServeMux would redirect: a POST does not survive
// a redirect, and no call of the contract has such a path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.EscapedPath()
	if strings.Contains(p, "//") || strings.Contains(p, "/.") && path.Clean(p) != strings.TrimSuffix(p, "/") {
		a.refuse(w, r, problem.New(http.StatusNotFound, "not_found", "Not found",
			"no path here has empty or dot segments"))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Handle adds a page of the caller's own, such as the one of `core dev`. Call it
// before serving.
func (a *API) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// unmatched answers what no route takes: 405 where another method would do.
func (a *API) unmatched(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); strings.HasPrefix(pattern, method+" ") {
			allow = append(allow, method)
		}
	}
	if len(allow) == 0 {
		a.refuse(w, r, problem.New(http.StatusNotFound, "not_found", "Not found",
			"there is no such path; /docs lists what there is"))
		return
	}
	w.Header().Set("Allow", strings.Join(allow, ", "))
	a.refuse(w, r, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed",
		"this path takes "+strings.Join(allow, " and ")))
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, d *problem.Details) {
	(&call{w: w, r: r}).identify()
	problem.Write(w, d)
	a.metrics.observe("unmatched", d.Status, time.Now())
}

// A call is one request on its way through a handler.
type call struct {
	api       *API
	ctx       context.Context // of the request; ends when the client disconnects
	w         http.ResponseWriter
	r         *http.Request
	claims    *auth.Claims
	requestID string
	status    int
}

// route registers an operation with its handler: in the OpenAPI document, on the
// mux, in the metrics.
func (a *API) route(op huma.Operation, handle func(*call) error) {
	a.huma.OpenAPI().AddOperation(&op)
	name, route := op.OperationID, op.Method+" "+op.Path
	a.mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		ctx, span := a.begin(r.Context(), r, route)
		c := call{api: a, ctx: ctx, w: w, r: r}
		err := c.authenticate()
		if err == nil {
			err = handle(&c)
		}
		if err != nil {
			c.fail(err)
		}
		end(span, c.status)
		a.metrics.observe(name, c.status, begin)
		if a.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
			a.cfg.Logger.DebugContext(ctx, "request", "operation", name, "status", c.status,
				"requestId", c.requestID, "took", time.Since(begin))
		}
	})
}

// queryContext returns the context of a read. It ends when the client disconnects, which cancels
// the query.
func (c *call) queryContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.api.cfg.Timeout)
}

// commitContext returns the context of a write. It does not end when the client disconnects: an
// operation that was admitted to the ledger's queue completes, and a retry with the same
// Idempotency-Key returns its result.
func (c *call) commitContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.ctx), c.api.cfg.Timeout)
}

// answer writes body, JSON, with the status.
func (c *call) answer(status int, body []byte) {
	c.status = status
	writeBody(c.w, status, body)
}

func (c *call) answerJSON(v any) error {
	body, err := plainjson.Marshal(v)
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, body)
	return nil
}

// statusClientClosed is the status of a read whose client disconnected before the answer. Only logs,
// metrics and traces show it.
const statusClientClosed = 499

// fail answers with the error's problem.
func (c *call) fail(err error) {
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		c.status = statusClientClosed
		return
	}
	d := c.problem(err)
	c.status = d.Status
	problem.Write(c.w, d)
}

// problem is what the client is told of an error. What the table does not know
// is our fault: it is logged, and the client learns the request id.
func (c *call) problem(err error) *problem.Details {
	if d := DescribeError(err); d != nil {
		return d
	}
	c.api.cfg.Logger.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "requestId", c.requestID, "err", err)
	return problem.New(http.StatusInternalServerError, "internal", "Internal error", detailInternal)
}
