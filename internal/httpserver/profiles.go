package httpserver

import (
	"net/http"
	"net/http/pprof"
)

// AddProfiles adds /debug/pprof/. Requests over a loopback address are allowed, and those with a
// token that has the scope admin. The command line is not served, because flags can be secrets.
// Call AddProfiles before serving.
func (a *Admin) AddProfiles(v Verifier) {
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/cmdline", refuseUnknownPath)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	withToken := requireAdmin(v, profiles)
	a.mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
		if isLoopbackRequest(r) {
			profiles.ServeHTTP(w, r)
			return
		}
		withToken.ServeHTTP(w, r)
	})
}
