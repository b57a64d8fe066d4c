package httpserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/redroomrewards/realtime/internal/problem"
)

// Recover keeps a panic in its request: it is logged with its stack, and the
// client gets 500 where no answer has begun.
func Recover(next http.Handler, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.Default()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &started{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // the server compares like this
				panic(v)
			}
			log.Error("panic in a request", "method", r.Method, "path", r.URL.Path,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if t.yes {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			problem.Write(w, problem.New(http.StatusInternalServerError, "internal", "",
				"something went wrong on our side; the log tells what"))
		}()
		next.ServeHTTP(t, r)
	})
}

// started knows whether an answer has begun.
type started struct {
	http.ResponseWriter
	yes bool
}

func (s *started) WriteHeader(code int) {
	s.yes = true
	s.ResponseWriter.WriteHeader(code)
}

func (s *started) Write(p []byte) (int, error) {
	s.yes = true
	return s.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find what the server's writer can do, such
// as Hijack.
func (s *started) Unwrap() http.ResponseWriter { return s.ResponseWriter }
