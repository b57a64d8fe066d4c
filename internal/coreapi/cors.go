package coreapi

import (
	"net/http"
	"time"

	weborigin "github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/internal/problem"
)

// newReaders returns the web pages that may read from the API.
func newReaders(allowedOrigins []string) weborigin.Readers {
	return weborigin.Readers{
		Patterns: allowedOrigins,
		Headers:  "Authorization, Cache-Control, Traceparent, X-Request-Id",
		Exposed:  "Retry-After, X-Event-Streams, X-Request-Id",
	}
}

// addPreflight answers the question of a browser if a page may call the path. Pages may only read.
func (a *API) addPreflight(path string) {
	metrics := a.metrics.ofOperation("preflight")
	a.mux.HandleFunc(http.MethodOptions+" "+path, func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		switch {
		case !weborigin.IsPreflight(r):
			a.refuseUnmatched(w, r)
		case !a.readers.Allow(w, r):
			a.refuseRequest(w, r, problem.New(http.StatusForbidden, "forbidden", "Forbidden",
				"the origin of a web page must be the core's own or one of --allowed-origins"))
		case !weborigin.AsksToRead(r) || !a.canRead(r):
			w.Header().Set("Allow", http.MethodGet)
			a.refuseRequest(w, r, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed",
				"a web page may only read: the method must be GET; send writes from your own server"))
		default:
			a.readers.AnswerPreflight(w)
			metrics.observeRequest(http.StatusNoContent, start)
		}
	})
}

// canRead reports whether the path of the request has a GET.
func (a *API) canRead(r *http.Request) bool {
	read := r.Clone(r.Context())
	read.Method = http.MethodGet
	_, pattern := a.mux.Handler(read)
	return pattern != "/"
}
