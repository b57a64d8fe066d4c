package gateway

import (
	"context"
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
)

// The sources of a balance: values of the header X-Balance-Source and of a metric's label.
const (
	sourceRedis = "redis"
	sourceCore  = "core"
	sourceNone  = "none"
)

// serveBalance answers from Redis, or from the core when Redis lacks the account.
func (g *Gateway) serveBalance(w http.ResponseWriter, r *http.Request) {
	g.readers.Allow(w, r)
	account, refused := g.authorizeAccount(w, r)
	if refused != nil {
		problem.Write(w, refused)
		return
	}

	b, source, err := g.findBalance(r.Context(), account)
	g.balanceRequests.WithLabelValues(source).Inc()
	switch {
	case err != nil:
		g.cfg.Logger.Warn("reading a balance failed", "error", err)
		problem.Write(w, unavailable("unavailable", "the balance cannot be read from Redis or from the core at the moment"))
	case source == sourceNone:
		problem.Write(w, problem.New(http.StatusNotFound, "account_not_found", "Account not found",
			"the ledger must have the account; the first credit or settlement to an account creates it"))
	default:
		w.Header().Set("X-Balance-Source", source)
		httpserver.WriteJSON(w, http.StatusOK, b)
	}
}

// findBalance returns an account's balance and its source. The source is sourceNone when the
// account does not exist, or with an error.
func (g *Gateway) findBalance(ctx context.Context, account string) (b bus.Balance, source string, err error) {
	b, ok, err := g.cache.Get(ctx, account)
	if err == nil && ok {
		return b, sourceRedis, nil
	}

	// The core's answer is not cached. The next answer would claim to be from Redis, and without
	// Redis nothing would mark it as outdated.
	b, ok, err = g.coreBalances.readBalance(ctx, account)
	if err != nil || !ok {
		return bus.Balance{}, sourceNone, err
	}
	g.cache.RequireSeq(account, b.Seq)
	return b, sourceCore, nil
}

// revocationVerifier verifies tokens and refuses revoked ones.
type revocationVerifier struct{ *Gateway }

func (v revocationVerifier) Verify(ctx context.Context, raw string) (*auth.Claims, error) {
	claims, err := v.verifier.Verify(ctx, raw)
	if err == nil && v.hub.Revoked(claims.Identity()) {
		return nil, problem.New(http.StatusForbidden, "forbidden", "", "the token was revoked")
	}
	return claims, err
}

// authorizeAccount returns the account of a request whose token may subscribe to it.
func (g *Gateway) authorizeAccount(w http.ResponseWriter, r *http.Request) (string, *problem.Details) {
	claims, refused := httpserver.Bearer(w, r, revocationVerifier{g}, "gateway")
	if refused != nil {
		return "", refused
	}

	account := r.PathValue("account")
	if !bus.ValidAccount(account) {
		return "", httpserver.Invalid("/account", accountDetail)
	}
	_, refused = httpserver.Query(r)
	if refused != nil {
		return "", refused
	}
	if !claims.MaySee(account) {
		return "", problem.New(http.StatusForbidden, "forbidden", "", "the token does not include this account")
	}
	return account, nil
}
