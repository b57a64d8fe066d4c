package ws

import (
	"net/http"
	"strconv"
	"time"
)

// An HTTPError is the response to a request that gets no connection.
type HTTPError struct {
	Status  int    // HTTP status
	Code    string // for programs, such as unauthorized
	Detail  string // for people
	Pointer string // JSON pointer to the invalid parameter or header; "/": the whole query; "": none

	retryAfter time.Duration // for the header Retry-After; 0: no header
}

// Error implements error.
func (e *HTTPError) Error() string { return e.Code + ": " + e.Detail }

// writeTextError is the default of Config.WriteError.
func writeTextError(w http.ResponseWriter, _ *http.Request, e *HTTPError) {
	http.Error(w, e.Error(), e.Status)
}

// refuseRequest writes the response to a request that gets no connection.
func (h *Hub) refuseRequest(w http.ResponseWriter, r *http.Request, e *HTTPError) {
	h.metrics.CountRefusal(e.Status)
	header := w.Header()
	switch e.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodGet)
	}

	if e.retryAfter > 0 {
		seconds := max(1, int(e.retryAfter/time.Second))
		header.Set("Retry-After", strconv.Itoa(seconds))
	}

	h.cfg.WriteError(w, r, e)
}

// invalidRequestError returns the error for an invalid request.
func invalidRequestError(detail string) *HTTPError {
	return &HTTPError{
		Status: http.StatusBadRequest,
		Code:   "invalid_request",
		Detail: detail,
	}
}

// forbiddenError returns the error for a request that the client may not make.
func forbiddenError(detail string) *HTTPError {
	return &HTTPError{
		Status: http.StatusForbidden,
		Code:   "forbidden",
		Detail: detail,
	}
}

// unavailableError returns the error for a request that temporarily cannot be served.
func unavailableError(detail string, retryAfter time.Duration) *HTTPError {
	return &HTTPError{
		Status:     http.StatusServiceUnavailable,
		Code:       "unavailable",
		Detail:     detail,
		retryAfter: retryAfter,
	}
}

// overloadedError returns the error for a request beyond a limit on connections.
func overloadedError(status int, detail string) *HTTPError {
	return &HTTPError{
		Status:     status,
		Code:       "overloaded",
		Detail:     detail,
		retryAfter: time.Second,
	}
}
