package httpserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/redroomrewards/realtime/internal/problem"
)

// Recover limits the effect of a panic to its request. It logs the panic and its stack. It answers
// with 500 if the answer has not started, and closes the connection otherwise.
func Recover(next http.Handler, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.Default()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked := &trackingWriter{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares in the same way
				panic(v)
			}
			log.Error("a request panicked", "method", r.Method, "path", r.URL.Path,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))

			if tracked.started {
				panic(http.ErrAbortHandler) // so that the client does not accept an incomplete answer
			}
			problem.Write(w, problem.New(http.StatusInternalServerError, "internal", "",
				"an internal error occurred; the server log has the cause"))
		}()
		next.ServeHTTP(tracked, r)
	})
}

// trackingWriter records whether the answer has started.
type trackingWriter struct {
	http.ResponseWriter
	started bool
}

func (w *trackingWriter) WriteHeader(code int) {
	w.started = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *trackingWriter) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// Unwrap returns the writer of the server. http.ResponseController calls it.
func (w *trackingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
