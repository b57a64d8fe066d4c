package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/redroomrewards/realtime/docs"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	wsPath      = "/v1/ws"
	balancePath = "/v1/accounts/{account}/balance"
	eventsPath  = "/v1/events"
)

const notFoundDetail = "the path must be one of " + wsPath + " (WebSocket, subprotocol wallet.v1), " + eventsPath +
	" (server-sent events), " + balancePath + " and /asyncapi.json"

func (g *Gateway) registerRoutes() {
	g.mux.Handle("GET "+wsPath, g.hub.Handler(g.verifier))
	events := g.hub.Events(g.verifier)
	g.mux.HandleFunc("GET "+eventsPath, func(w http.ResponseWriter, r *http.Request) {
		g.allowOrigin(w, r)
		events.ServeHTTP(w, r)
	})

	g.mux.HandleFunc("GET "+balancePath, g.serveBalance)
	for _, path := range []string{eventsPath, balancePath} {
		g.mux.HandleFunc("OPTIONS "+path, g.servePreflight)
	}
	g.mux.HandleFunc("GET /asyncapi.json", serveAsyncAPI)

	for _, path := range []string{wsPath, eventsPath, balancePath} {
		g.mux.HandleFunc(path, refuseMethod)
	}
	g.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(http.StatusNotFound, "not_found", "", notFoundDetail))
	})
}

func serveAsyncAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(docs.AsyncAPI)
}

func refuseMethod(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", http.MethodGet)
	problem.Write(w, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "", "the method must be GET"))
}

// writeProblem writes the hub's refusal of a request as a problem document, the form of all other
// errors.
func writeProblem(w http.ResponseWriter, _ *http.Request, e *ws.HTTPError) {
	d := problem.New(e.Status, e.Code, "", e.Detail)
	if e.Pointer != "" {
		d.Title = "Invalid request"
		d.Errors = []problem.Field{{Pointer: e.Pointer, Detail: e.Detail}}
	}
	problem.Write(w, d)
}

// registerChecks adds the checks of /readyz.
func (g *Gateway) registerChecks() {
	g.admin.AddCheck(httpserver.Check{Name: "redis", Ping: g.layout.Check})
	g.admin.AddCheck(httpserver.Check{Name: "streams", Ping: g.checkStreams})
	// The core is needed for history only. The gateway serves what it has in memory and in Redis
	// without it.
	g.admin.AddCheck(httpserver.Check{Name: "core", Ping: g.core.Ping, Degrades: true})
	// Clients stay connected while their accounts are compared, and those that are behind are caught
	// up. After an outage of Redis all gateways compare at once, so they must stay ready.
	g.admin.AddCheck(httpserver.Check{Name: "history", Ping: g.checkHistory, Degrades: true})
	// The core answers for Redis while Redis lacks committed events. All gateways are affected alike.
	g.admin.AddCheck(httpserver.Check{Name: "balances", Ping: g.freshness.check, Degrades: true})
	// Revocations come from Redis, so a gateway without the control channel may accept revoked
	// tokens.
	g.admin.AddCheck(httpserver.Check{Name: "control", Ping: g.control.checkChannel})
	g.admin.AddKeys(g.verifier)
	g.admin.AddProfiles(revocationVerifier{g})
}

// checkStreams reports whether all streams are being read and are those that the core writes.
func (g *Gateway) checkStreams(ctx context.Context) error {
	select {
	case <-g.tail.CaughtUp():
	default:
		return errors.New("the entries published before the start are still being read")
	}

	if !g.tail.ReadingAll() {
		return errors.New("the streams cannot be read at the moment")
	}
	err := g.core.CheckStreams(ctx, g.cfg.Keys)
	if err != nil {
		g.limitLog.Do(func() { g.cfg.Logger.Error("checking that the streams are the core's failed", "error", err) })
	}
	return err
}

// checkChannel reports whether revocations and admin calls of other gateways arrive.
func (c *control) checkChannel(context.Context) error {
	switch {
	case !c.loaded.Load():
		return errors.New("revocations have not been loaded yet")
	case !c.subscribed.Load():
		return errors.New("the control channel is not subscribed at the moment")
	}
	return nil
}

// allowOrigin allows a web page to read the answer if the page may also connect.
func (g *Gateway) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	from := r.Header.Get("Origin")
	if from == "" || !origin.Allowed(g.cfg.AllowedOrigins, from, r.Host) {
		return false
	}

	h.Set("Access-Control-Allow-Origin", from)
	h.Set("Access-Control-Expose-Headers", "X-Balance-Source, Retry-After")
	return true
}

func (g *Gateway) servePreflight(w http.ResponseWriter, r *http.Request) {
	if g.allowOrigin(w, r) {
		w.Header().Set("Access-Control-Allow-Methods", http.MethodGet)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
