package httpserver

import (
	"context"
	"errors"
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
)

// Verifier verifies tokens. *auth.Verifier implements it.
type Verifier interface {
	Verify(ctx context.Context, raw string) (*auth.Claims, error)
}

// requireAdmin returns a handler that calls next if the token of the request has the scope admin.
func requireAdmin(v Verifier, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, refusal := Bearer(w, r, v, "admin")
		if refusal == nil && !claims.Has(auth.ScopeAdmin) {
			refusal = problem.New(http.StatusForbidden, "forbidden", "", "the token must have the scope "+auth.ScopeAdmin)
		}
		if refusal != nil {
			problem.Write(w, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Bearer returns the claims of the request's token. For the status 401 it sets the WWW-Authenticate
// header. If the error of Verify is a *problem.Details, Bearer returns it.
func Bearer(w http.ResponseWriter, r *http.Request, v Verifier, realm string) (*auth.Claims, *problem.Details) {
	if len(r.Header["Authorization"]) > 1 {
		return nil, Invalid("/authorization", "the Authorization header must be given only once")
	}

	raw := auth.FromHeader(r.Header)
	if raw == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`"`)
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "",
			"the request must have the header Authorization: Bearer <token>")
	}

	claims, err := v.Verify(r.Context(), raw)
	var refusal *problem.Details
	switch {
	case errors.As(err, &refusal):
		return nil, refusal
	case errors.Is(err, auth.ErrUnavailable):
		refusal = problem.New(http.StatusServiceUnavailable, "unavailable", "", auth.Reason(err))
		refusal.RetryAfter = auth.RetryAfterSeconds
		return nil, refusal
	case err != nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`", error="invalid_token"`)
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "", auth.Reason(err))
	}
	return claims, nil
}
