package httpserver

import (
	"net/http"
	"net/url"

	"github.com/redroomrewards/realtime/internal/problem"
)

// An AdminCall serves a call of an admin API, or returns why the call is refused.
type AdminCall func(w http.ResponseWriter, r *http.Request, query url.Values) *problem.Details

// HandleCall adds a call that needs a token with the scope admin and accepts the given query
// parameters. The pattern is that of Handle. Call HandleCall before serving.
func (a *Admin) HandleCall(pattern string, v Verifier, call AdminCall, parameters ...string) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		query, refusal := Query(r, parameters...)
		if refusal == nil {
			refusal = call(w, r, query)
		}
		if refusal != nil {
			problem.Write(w, refusal)
		}
	}
	a.Handle(pattern, requireAdmin(v, http.HandlerFunc(serve)))
}
