package gateway

import (
	"net/http"

	"github.com/redroomrewards/realtime/docs"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	wsPath      = "/v1/ws"
	balancePath = "/v1/accounts/{account}/balance"
	eventsPath  = "/v1/events"
)

const notFoundDetail = "the path must be one of " + wsPath + " (WebSocket, subprotocol wallet.v1), " + eventsPath +
	" (server-sent events), " + balancePath + ", /asyncapi.json and /openapi.json"

func (g *Gateway) registerRoutes() {
	g.mux.Handle("GET "+wsPath, g.hub.Handler(g.verifier))
	events := g.hub.Events(g.verifier)
	g.mux.HandleFunc("GET "+eventsPath, func(w http.ResponseWriter, r *http.Request) {
		g.readers.Allow(w, r)
		events.ServeHTTP(w, r)
	})

	g.mux.HandleFunc("GET "+balancePath, g.serveBalance)
	for _, path := range []string{eventsPath, balancePath} {
		g.mux.HandleFunc("OPTIONS "+path, g.servePreflight)
	}
	g.mux.HandleFunc("GET /asyncapi.json", serveAsyncAPI)
	g.mux.Handle("GET /openapi.json", newDocument().Serve())

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
	if e.Code == "invalid_request" {
		d.Title = "Invalid request"
		d.Errors = []problem.Field{{Pointer: e.Pointer, Detail: e.Detail}}
	}
	problem.Write(w, d)
}

func (g *Gateway) servePreflight(w http.ResponseWriter, r *http.Request) {
	if g.readers.Allow(w, r) {
		g.readers.AnswerPreflight(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
