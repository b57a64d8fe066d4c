package httpserver

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/redroomrewards/realtime/internal/buildinfo"
	"github.com/redroomrewards/realtime/internal/problem"
)

// Admin is the handler of the admin listener. It serves /healthz, /readyz, /metrics, the
// profiles of AddProfiles and the routes that Handle adds.
type Admin struct {
	Registry *prometheus.Registry
	checks   []*checker
	mux      *http.ServeMux
	draining atomic.Bool
}

// NewAdmin returns an Admin with its own metrics registry.
func NewAdmin(checks ...Check) *Admin {
	a := &Admin{
		Registry: prometheus.NewRegistry(),
		mux:      http.NewServeMux(),
	}
	for _, c := range checks {
		a.AddCheck(c)
	}

	a.Registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newBuildInfo(),
	)

	a.Handle("GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}))
	a.Handle("GET /readyz", http.HandlerFunc(a.serveReadiness))
	a.Handle("GET /metrics", promhttp.HandlerFor(a.Registry, promhttp.HandlerOpts{}))
	a.mux.HandleFunc("/", refuseUnknownPath)
	return a
}

// newBuildInfo returns a metric whose labels say which build runs.
func newBuildInfo() prometheus.Collector {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "realtime_build_info",
		Help: "1. The labels are the version of the program, the commit that it was built from, and the version of Go.",
	}, []string{"version", "commit", "goversion"})
	g.WithLabelValues(buildinfo.Version, buildinfo.Commit(), runtime.Version()).Set(1)
	return g
}

func refuseUnknownPath(w http.ResponseWriter, _ *http.Request) {
	problem.Write(w, problem.New(http.StatusNotFound, "not_found", "",
		"the path is unknown; the listener serves /healthz, /readyz, /metrics and /debug/pprof/"))
}

// AddCheck adds a dependency. Call it before serving.
func (a *Admin) AddCheck(c Check) { a.checks = append(a.checks, &checker{Check: c}) }

// Handle adds a route, "METHOD /path". It answers other methods of the path with 405, so a path can
// have only one route. Call Handle before serving.
func (a *Admin) Handle(pattern string, h http.Handler) {
	a.mux.Handle(pattern, h)
	method, path, _ := strings.Cut(pattern, " ")
	a.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", method)
		problem.Write(w, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "",
			"the method must be "+method))
	})
}

// AdminConfig returns the settings of an admin listener. It answers even while the process has no
// file descriptor left.
func AdminConfig(log *slog.Logger) Config {
	return Config{
		WriteTimeout:   5 * time.Minute, // a profile takes as long as its caller asked for
		StopTimeout:    time.Second,
		MaxConnections: 64,
		ReservedFiles:  8,
		Logger:         log,
	}
}

// Drain makes /readyz return 503.
func (a *Admin) Drain() { a.draining.Store(true) }

func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// readiness is the answer of /readyz.
type readiness struct {
	Status string            `json:"status"` // ready, degraded, not_ready, draining
	Checks map[string]string `json:"checks"` // ok, or the error
}

func (a *Admin) serveReadiness(w http.ResponseWriter, r *http.Request) {
	errs := a.runChecks(r.Context())
	result := readiness{
		Status: "ready",
		Checks: make(map[string]string, len(a.checks)),
	}
	for i, c := range a.checks {
		switch {
		case errs[i] == nil:
			result.Checks[c.Name] = "ok"
			continue
		case !c.Degrades && !isDegraded(errs[i]):
			result.Status = "not_ready"
		case result.Status == "ready":
			result.Status = "degraded"
		}
		result.Checks[c.Name] = errs[i].Error()
	}
	if a.draining.Load() {
		result.Status = "draining"
	}

	status := http.StatusOK
	if result.Status == "not_ready" || result.Status == "draining" {
		status = http.StatusServiceUnavailable
	}
	WriteJSON(w, status, result)
}

// runChecks runs all checks at the same time and returns their errors.
func (a *Admin) runChecks(ctx context.Context) []error {
	errs := make([]error, len(a.checks))
	var wg sync.WaitGroup
	for i, c := range a.checks {
		wg.Go(func() { errs[i] = c.check(ctx) })
	}
	wg.Wait()
	return errs
}
