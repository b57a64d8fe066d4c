package ws

import (
	"net/http"
	"strconv"
	"time"
)

// An HTTPError is the answer to a request that gets no connection.
type HTTPError struct {
	Status  int    // HTTP status
	Code    string // the error for programs, such as unauthorized
	Detail  string // the error for people
	Pointer string // JSON pointer to the query parameter at fault; "/" is the whole query, "" none

	retryAfter time.Duration // goes into the header Retry-After; 0: none
}

// Error implements error.
func (e *HTTPError) Error() string { return e.Code + ": " + e.Detail }

// writeText is the default of Config.WriteError.
func writeText(w http.ResponseWriter, _ *http.Request, e *HTTPError) {
	http.Error(w, e.Error(), e.Status)
}

// refuseRequest answers a request that gets no connection.
func (h *Hub) refuseRequest(w http.ResponseWriter, r *http.Request, e *HTTPError) {
	h.metrics.countRefusal(e.Status)
	header := w.Header()
	switch e.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodGet)
	}
	if e.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(max(1, int(e.retryAfter/time.Second))))
	}
	h.cfg.WriteError(w, r, e)
}

// invalidRequest is an error in what the client asks for.
func invalidRequest(detail string) *HTTPError {
	return &HTTPError{Status: http.StatusBadRequest, Code: "invalid_request", Detail: detail}
}

// forbidden is an error in what the client may do.
func forbidden(detail string) *HTTPError {
	return &HTTPError{Status: http.StatusForbidden, Code: "forbidden", Detail: detail}
}

// unavailable asks the client to come back, since the gateway cannot answer at the moment.
func unavailable(detail string, retryAfter time.Duration) *HTTPError {
	return &HTTPError{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: detail, retryAfter: retryAfter}
}

// overloaded asks the client to come back, since there are too many clients.
func overloaded(status int, detail string) *HTTPError {
	return &HTTPError{Status: status, Code: "overloaded", Detail: detail, retryAfter: time.Second}
}
