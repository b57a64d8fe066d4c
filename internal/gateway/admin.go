package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/problem"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/ws"
)

const (
	maxListed     = 1000 // connections in one answer
	maxReasonText = 100  // bytes of a reason, the part that a close frame has room for
	maxNameText   = 255  // bytes of a token's id, a connection's id or a gateway's name

	// maxKnownRevocations bounds the revocations in this gateway's memory: as many as Redis may
	// hold, and as many again that Redis did not accept.
	maxKnownRevocations = 2 * maxRevocations

	// defaultRevocation is how long a revocation lasts if the call has no expiresAt. It is longer
	// than tokens should live.
	defaultRevocation = 31 * 24 * time.Hour
	maxRevocation     = 366 * 24 * time.Hour

	// expiryGrace is added to expiresAt. Redis keeps whole seconds, and tokens are accepted for a
	// short time after their exp.
	expiryGrace = time.Minute
)

const accountDetail = "account must be user:<id> or model:<id>"

// registerAdminCalls adds the admin API.
func (g *Gateway) registerAdminCalls() {
	verifier := revocationVerifier{g}
	g.admin.Handle("GET /openapi.json", newAdminDocument().Serve())
	g.admin.HandleCall("GET /admin/stats", verifier, g.serveStats)
	g.admin.HandleCall("GET /admin/connections", verifier, g.listConnections, "account")
	g.admin.HandleCall("POST /admin/disconnect", verifier, g.disconnectClients)
	g.admin.HandleCall("POST /admin/revoke", verifier, g.revokeTokens)
	g.admin.HandleCall("POST /admin/drain", verifier, g.drainClients)
}

func (g *Gateway) serveStats(w http.ResponseWriter, _ *http.Request, _ url.Values) *problem.Details {
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway string `json:"gateway"`
		ws.Stats
	}{
		Gateway: g.cfg.Name,
		Stats:   g.hub.Stats(),
	})
	return nil
}

// listConnections lists this gateway's connections, at most maxListed of them.
func (g *Gateway) listConnections(w http.ResponseWriter, _ *http.Request, query url.Values) *problem.Details {
	account := query.Get("account")
	if query.Has("account") && !bus.ValidAccount(account) {
		return httpserver.Invalid("/account", accountDetail)
	}

	connections, total := g.hub.Connections(account, maxListed)
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway     string              `json:"gateway"`
		Total       int                 `json:"total"`
		Connections []ws.ConnectionInfo `json:"connections"`
	}{
		Gateway:     g.cfg.Name,
		Total:       total,
		Connections: connections,
	})
	return nil
}

// disconnectRequest is the body of POST /admin/disconnect.
type disconnectRequest struct {
	Account    string `json:"account"`
	Connection string `json:"connection"`
	Reason     string `json:"reason"`
}

func (d *disconnectRequest) validate() *problem.Details {
	hasAccount := d.Account != ""
	hasConnection := d.Connection != ""
	switch {
	case hasAccount == hasConnection:
		return httpserver.Invalid("", "exactly one of account and connection must be given")
	case hasAccount && !bus.ValidAccount(d.Account):
		return httpserver.Invalid("/account", accountDetail)
	case !isPlainText(d.Connection, maxNameText):
		return httpserver.Invalid("/connection", "connection must be the id from a connection's welcome frame")
	case !isPlainText(d.Reason, maxReasonText):
		return httpserver.Invalid("/reason", fmt.Sprintf("reason must be printable text of at most %d bytes", maxReasonText))
	}
	return nil
}

// disconnectClients closes an account's connections, or one connection, on all gateways.
func (g *Gateway) disconnectClients(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body disconnectRequest
	refused := httpserver.ReadJSON(r, &body)
	if refused != nil {
		return refused
	}
	refused = body.validate()
	if refused != nil {
		return refused
	}

	closed := g.hub.Disconnect(body.Account, body.Connection, body.Reason)
	return g.broadcast(w, r, closed, controlMessage{
		Op:         opDisconnect,
		Account:    body.Account,
		Connection: body.Connection,
		Reason:     body.Reason,
	})
}

// revokeRequest is the body of POST /admin/revoke.
type revokeRequest struct {
	TokenID   string     `json:"tokenId"`
	Account   string     `json:"account"`
	ExpiresAt *time.Time `json:"expiresAt"`
}

func (r *revokeRequest) validate(now time.Time) *problem.Details {
	hasAccount := r.Account != ""
	hasTokenID := r.TokenID != ""
	switch {
	case hasAccount == hasTokenID:
		return httpserver.Invalid("", "exactly one of tokenId and account must be given")
	case hasAccount && !bus.ValidAccount(r.Account):
		return httpserver.Invalid("/account", accountDetail)
	case !isPlainText(r.TokenID, maxNameText):
		return httpserver.Invalid("/tokenId", fmt.Sprintf("tokenId must be printable text of at most %d bytes", maxNameText))
	case r.ExpiresAt == nil:
		return nil
	}
	if !r.ExpiresAt.After(now) || r.ExpiresAt.Sub(now) > maxRevocation {
		return httpserver.Invalid("/expiresAt", "expiresAt must be in the future and at most a year ahead")
	}
	return nil
}

func (r *revokeRequest) revocation(now time.Time) ws.Revocation {
	until := now.Add(defaultRevocation)
	if r.ExpiresAt != nil {
		until = r.ExpiresAt.Add(expiryGrace)
	}
	return ws.Revocation{
		TokenID: r.TokenID,
		Account: r.Account,
		At:      now,
		Until:   until,
	}
}

// revokeTokens makes tokens invalid on all gateways until they would have expired.
func (g *Gateway) revokeTokens(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body revokeRequest
	refused := httpserver.ReadJSON(r, &body)
	if refused != nil {
		return refused
	}
	now := time.Now()
	refused = body.validate(now)
	if refused != nil {
		return refused
	}
	if len(g.hub.Revocations()) >= maxKnownRevocations {
		return unavailable("overloaded", "nothing was changed: "+errTooManyRevocations.Error())
	}

	v := body.revocation(now)
	closed := g.hub.Revoke(v)
	err := g.control.storeRevocations(r.Context(), v)
	if err != nil {
		return g.broadcastFailed(err)
	}
	return g.broadcast(w, r, closed, controlMessage{
		Op:      opRevoke,
		TokenID: v.TokenID,
		Account: v.Account,
		At:      &v.At,
		Until:   &v.Until,
	})
}

// drainClients makes the clients of this gateway reconnect elsewhere, or those of the gateway that
// the call names.
func (g *Gateway) drainClients(w http.ResponseWriter, r *http.Request, _ url.Values) *problem.Details {
	var body struct {
		Gateway string `json:"gateway"`
	}
	refused := httpserver.ReadJSON(r, &body)
	if refused != nil {
		return refused
	}
	if !isPlainText(body.Gateway, maxNameText) {
		return httpserver.Invalid("/gateway", "gateway must be the name from a gateway's welcome frames")
	}
	if body.Gateway != "" && body.Gateway != g.cfg.Name {
		return g.broadcast(w, r, 0, controlMessage{Op: opDrain, Gateway: body.Gateway})
	}

	g.cfg.Logger.Info("admin call was applied", "operation", opDrain)
	g.startDrain()
	httpserver.WriteJSON(w, http.StatusOK, struct {
		Gateway  string `json:"gateway"`
		Draining bool   `json:"draining"`
	}{
		Gateway:  g.cfg.Name,
		Draining: true,
	})
	return nil
}

// broadcastAnswer answers a call that all gateways apply.
type broadcastAnswer struct {
	Closed   int   `json:"closed"`   // connections of this gateway
	Gateways int64 `json:"gateways"` // gateways that received the message, including this one
}

// broadcast sends a message to the other gateways. This gateway has applied it already and has
// closed that many connections.
func (g *Gateway) broadcast(w http.ResponseWriter, r *http.Request, closed int, message controlMessage) *problem.Details {
	n, err := g.control.publishMessage(r.Context(), message)
	if err != nil {
		return g.broadcastFailed(err)
	}
	g.cfg.Logger.Info("admin call was applied", "operation", message.Op, "connections", closed, "gateways", n)
	httpserver.WriteJSON(w, http.StatusOK, broadcastAnswer{Closed: closed, Gateways: n})
	return nil
}

// broadcastFailed answers a call that this gateway has applied and the others have not received.
func (g *Gateway) broadcastFailed(err error) *problem.Details {
	g.cfg.Logger.Error("broadcasting an admin call failed; only this gateway applied it", "error", err)
	if errors.Is(err, errTooManyRevocations) {
		return unavailable("overloaded", "applied on this gateway only, until it stops: "+err.Error())
	}
	return unavailable("unavailable", "applied on this gateway only, the others could not be reached; repeat the call")
}

// unavailable is a 503 that asks the caller to repeat the request after a second.
func unavailable(code, detail string) *problem.Details {
	d := problem.New(http.StatusServiceUnavailable, code, "", detail)
	d.RetryAfter = 1
	return d
}

// applyMessage applies a call that another gateway received.
func (g *Gateway) applyMessage(message controlMessage) {
	switch message.Op {
	case opDisconnect:
		g.hub.Disconnect(message.Account, message.Connection, message.Reason)
	case opRevoke:
		v, ok := message.revocation()
		if ok {
			g.hub.Revoke(v)
		}
	case opDrain:
		if message.Gateway == g.cfg.Name {
			g.startDrain()
		}
	}
}

// isPlainText reports whether s is valid, printable text of at most maxBytes bytes.
func isPlainText(s string, maxBytes int) bool {
	if len(s) > maxBytes || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
