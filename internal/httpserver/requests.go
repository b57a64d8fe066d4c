package httpserver

import (
	"net/http"
	"sync/atomic"

	"github.com/redroomrewards/realtime/internal/problem"
)

// limitRequests bounds the requests that next serves at the same time. Further requests are answered
// with 503 overloaded. With HTTP/1 the bound on connections is also one on requests, but a
// connection of HTTP/2 has many.
func limitRequests(next http.Handler, maximum int) http.Handler {
	var running atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer running.Add(-1)
		if running.Add(1) > int64(maximum) {
			refusal := problem.New(http.StatusServiceUnavailable, "overloaded", "Overloaded",
				"too many requests are running; nothing was done; try again later")
			refusal.RetryAfter = 1
			problem.Write(w, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}
