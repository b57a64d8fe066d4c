package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	maxListed  = 1000                // connections in one answer
	maxReason  = 100                 // bytes; what of it a close frame takes
	maxTokenID = 255                 // bytes
	maxHeld    = 2 * maxRevocations  // revocations in this gateway's memory: those of Redis, and as many that it did not take
	revokedFor = 31 * 24 * time.Hour // unless the call says: longer than tokens should last
	maxRevoked = 366 * 24 * time.Hour
)

// parameters are the calls' that have some.
var parameters = map[string][]string{"GET /admin/connections": {"account"}}

// admins adds the admin API, for tokens with the scope admin.
func (g *Gateway) admins() {
	for pattern, serve := range map[string]func(w http.ResponseWriter, r *http.Request, q url.Values) *problem.Details{
		"GET /admin/stats":       g.stats,
		"GET /admin/connections": g.connections,
		"POST /admin/disconnect": g.disconnect,
		"POST /admin/revoke":     g.revoke,
		"POST /admin/drain":      g.drainCall,
	} {
		g.admin.Handle(pattern, httpserver.RequireScope(unrevoked{g}, auth.ScopeAdmin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q, refused := httpserver.Query(r, parameters[pattern]...)
			if refused == nil {
				refused = serve(w, r, q)
			}
			if refused != nil {
				problem.Write(w, refused)
			}
		})))
	}
}

func (g *Gateway) stats(w http.ResponseWriter, _ *http.Request, _ url.Values) *problem.Details {
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway string `json:"gateway"`
		ws.Stats
	}{g.cfg.Name, g.hub.Stats()})
	return nil
}

// connections lists this gateway's, at most maxListed of them.
func (g *Gateway) connections(w http.ResponseWriter, _ *http.Request, q url.Values) *problem.Details {
	account := q.Get("account")
	if q.Has("account") && !bus.ValidAccount(account) {
		return httpserver.Invalid("/account", "an account is user:<id> or model:<id>")
	}
	list, total := g.hub.Connections(account, maxListed)
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway     string              `json:"gateway"`
		Total       int                 `json:"total"`
		Connections []ws.ConnectionInfo `json:"connections"`
	}{g.cfg.Name, total, list})
	return nil
}

// done is the answer to a call that all gateways apply.
type done struct {
	Closed   int   `json:"closed"`   // connections of this gateway
	Gateways int64 `json:"gateways"` // that were reached, this one included
}

// disconnect closes an account's connections, or one connection, wherever they are.
func (g *Gateway) disconnect(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body struct {
		Account    string `json:"account"`
		Connection string `json:"connection"`
		Reason     string `json:"reason"`
	}
	if refused := httpserver.ReadJSON(r, &body); refused != nil {
		return refused
	}
	switch {
	case (body.Account == "") == (body.Connection == ""):
		return httpserver.Invalid("", "give account or connection")
	case body.Account != "" && !bus.ValidAccount(body.Account):
		return httpserver.Invalid("/account", "an account is user:<id> or model:<id>")
	case !plain(body.Connection, maxTokenID):
		return httpserver.Invalid("/connection", "a connection's id stands in its welcome frame")
	case !plain(body.Reason, maxReason):
		return httpserver.Invalid("/reason", fmt.Sprintf("a reason has at most %d bytes of printable text", maxReason))
	}
	message := controlMessage{Op: opDisconnect, Account: body.Account, Connection: body.Connection, Reason: body.Reason}
	return g.broadcast(w, r, message, g.hub.Disconnect(message.Account, message.Connection, message.Reason))
}

// revoke makes tokens void everywhere, for as long as they would be valid.
func (g *Gateway) revoke(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body struct {
		TokenID   string     `json:"tokenId"`
		Account   string     `json:"account"`
		ExpiresAt *time.Time `json:"expiresAt"`
	}
	if refused := httpserver.ReadJSON(r, &body); refused != nil {
		return refused
	}
	now := time.Now()
	v := ws.Revocation{TokenID: body.TokenID, Account: body.Account, At: now, Until: now.Add(revokedFor)}
	switch {
	case (v.TokenID == "") == (v.Account == ""):
		return httpserver.Invalid("", "give tokenId or account")
	case v.Account != "" && !bus.ValidAccount(v.Account):
		return httpserver.Invalid("/account", "an account is user:<id> or model:<id>")
	case !plain(v.TokenID, maxTokenID):
		return httpserver.Invalid("/tokenId", "a token's id is its claim jti, at most 255 bytes of printable text")
	case body.ExpiresAt != nil && (!body.ExpiresAt.After(now) || body.ExpiresAt.Sub(now) > maxRevoked):
		return httpserver.Invalid("/expiresAt", "expiresAt is the exp of the longest-lived token, from now to a year ahead")
	case body.ExpiresAt != nil:
		// Redis keeps whole seconds, and tokens are accepted a little after their exp.
		v.Until = body.ExpiresAt.Add(time.Minute)
	}
	if len(g.hub.Revocations()) >= maxHeld {
		d := problem.New(http.StatusServiceUnavailable, "overloaded", "", "nothing was done: "+errTooManyRevocations.Error())
		d.RetryAfter = 1
		return d
	}
	closed := g.hub.Revoke(v)
	if err := g.control.keep(r.Context(), v); err != nil {
		return g.broadcastFailed(err)
	}
	return g.broadcast(w, r, controlMessage{Op: opRevoke, TokenID: v.TokenID, Account: v.Account, At: &v.At, Until: &v.Until}, closed)
}

// drainCall sends the clients of this gateway away, or of the one that is named.
func (g *Gateway) drainCall(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	body := struct {
		Gateway string `json:"gateway"`
	}{}
	if refused := httpserver.ReadJSON(r, &body); refused != nil {
		return refused
	}
	if !plain(body.Gateway, maxTokenID) {
		return httpserver.Invalid("/gateway", "a gateway's name stands in its welcome frames")
	}
	if body.Gateway != "" && body.Gateway != g.cfg.Name {
		return g.broadcast(w, r, controlMessage{Op: opDrain, Gateway: body.Gateway}, 0)
	}
	g.cfg.Logger.Info("admin", "op", opDrain)
	g.startDrain()
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway  string `json:"gateway"`
		Draining bool   `json:"draining"`
	}{g.cfg.Name, true})
	return nil
}

// broadcast passes on a message that this gateway has applied.
func (g *Gateway) broadcast(w http.ResponseWriter, r *http.Request, message controlMessage, closed int) *problem.Details {
	n, err := g.control.publish(r.Context(), message)
	if err != nil {
		return g.broadcastFailed(err)
	}
	g.cfg.Logger.Info("admin", "op", message.Op, "closed", closed, "gateways", n)
	httpserver.WriteJSON(w, http.StatusOK, done{Closed: closed, Gateways: n})
	return nil
}

// broadcastFailed answers a call that this gateway has applied and the others have not heard of.
func (g *Gateway) broadcastFailed(err error) *problem.Details {
	g.cfg.Logger.Error("an admin call reached this gateway only", "err", err)
	d := problem.New(http.StatusServiceUnavailable, "unavailable", "", "done on this gateway; the others could not be told: repeat the call")
	if errors.Is(err, errTooManyRevocations) {
		d = problem.New(http.StatusServiceUnavailable, "overloaded", "", "done on this gateway until it stops; "+err.Error())
	}
	d.RetryAfter = 1
	return d
}

// apply does what another gateway's message says.
func (g *Gateway) apply(message controlMessage) {
	switch message.Op {
	case opDisconnect:
		g.hub.Disconnect(message.Account, message.Connection, message.Reason)
	case opRevoke:
		if message.At != nil && message.Until != nil && (message.TokenID == "") != (message.Account == "") {
			g.hub.Revoke(ws.Revocation{TokenID: message.TokenID, Account: message.Account, At: *message.At, Until: *message.Until})
		}
	case opDrain:
		if message.Gateway == g.cfg.Name {
			g.startDrain()
		}
	}
}

// plain tells whether a text is short, valid and without control characters.
func plain(s string, longest int) bool {
	if len(s) > longest || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
