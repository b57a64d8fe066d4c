package httpserver

import (
	"context"
	"errors"
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
)

// Verifier checks tokens. *auth.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, raw string) (*auth.Claims, error)
}

// RequireScope lets through who bears a token with the scope.
func RequireScope(v Verifier, scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, refused := Bearer(w, r, v, "admin")
		if refused == nil && !claims.Has(scope) {
			refused = problem.New(http.StatusForbidden, "forbidden", "", "the token lacks the scope "+scope)
		}
		if refused != nil {
			problem.Write(w, refused)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Bearer gives the claims of the request's token. A refusal has its challenge in the
// header already. Verify may refuse with a *problem.Details of its own.
func Bearer(w http.ResponseWriter, r *http.Request, v Verifier, realm string) (*auth.Claims, *problem.Details) {
	if len(r.Header["Authorization"]) > 1 {
		return nil, Invalid("/authorization", "the header Authorization is given more than once")
	}
	raw := auth.FromHeader(r.Header)
	if raw == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`"`)
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "", "send Authorization: Bearer <token>")
	}
	claims, err := v.Verify(r.Context(), raw)
	var refused *problem.Details
	switch {
	case errors.As(err, &refused):
		return nil, refused
	case errors.Is(err, auth.ErrUnavailable):
		refused = problem.New(http.StatusServiceUnavailable, "unavailable", "", auth.Reason(err))
		refused.RetryAfter = auth.RetryAfterSeconds
		return nil, refused
	case err != nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`", error="invalid_token"`)
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "", auth.Reason(err))
	}
	return claims, nil
}
