package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/redroomrewards/realtime/docs"
	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	wsPath      = "/v1/ws"
	balancePath = "/v1/accounts/{account}/balance"
	eventsPath  = "/v1/events"
)

func (g *Gateway) routes() {
	g.mux.Handle("GET "+wsPath, g.hub.Handler(g.verifier))
	events := g.hub.Events(g.verifier)
	g.mux.HandleFunc("GET "+eventsPath, func(w http.ResponseWriter, r *http.Request) {
		g.allowOrigin(w, r)
		events.ServeHTTP(w, r)
	})
	g.mux.HandleFunc("GET "+balancePath, g.balance)
	for _, path := range []string{eventsPath, balancePath} {
		g.mux.HandleFunc("OPTIONS "+path, g.preflight)
	}
	g.mux.HandleFunc("GET /asyncapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(docs.AsyncAPI)
	})
	g.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(http.StatusNotFound, "not_found", "",
			"here are GET /v1/ws (WebSocket, subprotocol wallet.v1), GET "+eventsPath+" (server-sent events), GET "+balancePath+" and GET /asyncapi.json"))
	})
	for _, path := range []string{wsPath, eventsPath, balancePath} {
		g.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", http.MethodGet)
			problem.Write(w, problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "", "this path takes GET"))
		})
	}
}

// writeProblem answers a request that the hub refuses with a problem document, as all others are
// answered.
func writeProblem(w http.ResponseWriter, _ *http.Request, e *ws.HTTPError) {
	d := problem.New(e.Status, e.Code, "", e.Detail)
	if e.Pointer != "" {
		d.Title = "Invalid request"
		d.Errors = []problem.Field{{Pointer: e.Pointer, Detail: e.Detail}}
	}
	problem.Write(w, d)
}

func (g *Gateway) checks() {
	g.admin.AddCheck(httpserver.Check{Name: "redis", Ping: g.layout.Check})
	g.admin.AddCheck(httpserver.Check{Name: "streams", Ping: func(ctx context.Context) error {
		select {
		case <-g.tail.CaughtUp():
			if !g.tail.ReadingAll() {
				return errors.New("they cannot be read at the moment")
			}
			err := g.core.CheckStreams(ctx, g.cfg.Keys)
			if err != nil {
				g.complain.Do(func() { g.cfg.Logger.Error("these streams are not the core's", "err", err) })
			}
			return err
		default:
			return errors.New("still reading what was published before the start")
		}
	}})
	// For history only: what is in memory and in Redis is served without it.
	g.admin.AddCheck(httpserver.Check{Name: "core", Ping: g.core.Ping, Degrades: true})
	// Whose tokens were revoked is known from Redis.
	g.admin.AddCheck(httpserver.Check{Name: "control", Ping: func(context.Context) error {
		switch {
		case !g.control.loaded.Load():
			return errors.New("revocations have not been read yet")
		case !g.control.hearing.Load():
			return errors.New("the channel of admin calls cannot be heard at the moment")
		}
		return nil
	}})
	g.admin.AddKeys(g.verifier)
}

// balance answers from Redis, or from the core where Redis does not know.
func (g *Gateway) balance(w http.ResponseWriter, r *http.Request) {
	g.allowOrigin(w, r)
	account, refused := g.mayAsk(w, r)
	if refused != nil {
		problem.Write(w, refused)
		return
	}
	b, source, err := g.lookUp(r.Context(), account)
	g.balances.WithLabelValues(source).Inc()
	switch {
	case err != nil:
		g.cfg.Logger.Warn("balance", "err", err)
		d := problem.New(http.StatusServiceUnavailable, "unavailable", "", "neither Redis nor the core can tell the balance now")
		d.RetryAfter = 1
		problem.Write(w, d)
	case source == sourceNone:
		problem.Write(w, problem.New(http.StatusNotFound, "account_not_found", "Account not found", "account not found"))
	default:
		w.Header().Set("X-Balance-Source", source)
		httpserver.WriteJSON(w, http.StatusOK, b)
	}
}

// Where a balance came from.
const (
	sourceRedis = "redis"
	sourceCore  = "core"
	sourceNone  = "none"
)

func (g *Gateway) lookUp(ctx context.Context, account string) (b bus.Balance, source string, err error) {
	b, ok, err := g.cache.Get(ctx, account)
	if err == nil && ok {
		return b, sourceRedis, nil
	}
	// What the core says is not kept: the next answer would claim to be Redis', and while Redis is away nothing would
	// tell that it has become old.
	if b, ok, err = g.core.Balance(ctx, account); err != nil || !ok {
		return bus.Balance{}, sourceNone, err
	}
	return b, sourceCore, nil
}

// unrevoked checks tokens, and whether they were revoked.
type unrevoked struct{ *Gateway }

func (g unrevoked) Verify(ctx context.Context, raw string) (*auth.Claims, error) {
	claims, err := g.verifier.Verify(ctx, raw)
	if err == nil && g.hub.Revoked(claims.Identity()) {
		return nil, problem.New(http.StatusForbidden, "forbidden", "", "the token was revoked")
	}
	return claims, err
}

// mayAsk gives the account if the bearer may subscribe to it.
func (g *Gateway) mayAsk(w http.ResponseWriter, r *http.Request) (string, *problem.Details) {
	claims, refused := httpserver.Bearer(w, r, unrevoked{g}, "gateway")
	if refused != nil {
		return "", refused
	}
	account := r.PathValue("account")
	if !bus.ValidAccount(account) {
		return "", httpserver.Invalid("/account", "an account is user:<id> or model:<id>")
	}
	if _, refused := httpserver.Query(r); refused != nil {
		return "", refused
	}
	if !claims.MaySee(account) {
		return "", problem.New(http.StatusForbidden, "forbidden", "", "the token is for other accounts")
	}
	return account, nil
}

// allowOrigin lets web pages read the answer that may also connect.
func (g *Gateway) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	from := r.Header.Get("Origin")
	if from == "" || !origin.Allowed(g.cfg.AllowedOrigins, from, r.Host) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", from)
	h.Set("Access-Control-Expose-Headers", "X-Balance-Source, Retry-After")
	return true
}

func (g *Gateway) preflight(w http.ResponseWriter, r *http.Request) {
	if g.allowOrigin(w, r) {
		w.Header().Set("Access-Control-Allow-Methods", http.MethodGet)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, Last-Event-ID")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
