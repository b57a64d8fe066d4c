package httpserver

import (
	"context"
	"net/http"

	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/internal/token"
)

// Verifier checks tokens. *token.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, raw string) (*token.Claims, error)
}

// RequireScope lets through who bears a token with the scope.
func RequireScope(v Verifier, scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := token.FromHeader(r.Header)
		if raw == "" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="admin"`)
			problem.Write(w, problem.New(http.StatusUnauthorized, "unauthorized", "", "send Authorization: Bearer <token>"))
			return
		}
		claims, err := v.Verify(r.Context(), raw)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="admin", error="invalid_token"`)
			problem.Write(w, problem.New(http.StatusUnauthorized, "unauthorized", "", token.Reason(err)))
			return
		}
		if !claims.Has(scope) {
			problem.Write(w, problem.New(http.StatusForbidden, "forbidden", "", "the token lacks the scope "+scope))
			return
		}
		next.ServeHTTP(w, r)
	})
}
