package ws

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Subprotocol is the name of the protocol in the WebSocket handshake.
const Subprotocol = "wallet.v1"

// Handler serves GET /v1/ws: it upgrades the request and returns. The connection lives on in
// goroutines of the hub. Run must be running.
func (h *Hub) Handler(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, refused := h.admitHandshake(r, a)
		if refused == nil {
			refused = h.upgrade(w, r, a, identity)
		}
		if refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// admitHandshake checks everything that can be known before the upgrade. The identity is nil when
// the token is to come in the first frame.
func (h *Hub) admitHandshake(r *http.Request, a Authenticator) (*Identity, *HTTPError) {
	if refused := h.checkRequest(r); refused != nil {
		return nil, refused
	}
	if !offersProtocol(r) {
		return nil, invalidRequest("the subprotocol is " + Subprotocol)
	}
	if r.Header.Get("Authorization") != "" {
		return h.authenticate(r.Context(), a, bearerToken(r.Header))
	}
	if err := h.clients.check(nil); err != nil {
		return nil, h.refuseClient(err)
	}
	return nil, nil
}

// checkRequest checks what does not depend on who the client is.
func (h *Hub) checkRequest(r *http.Request) *HTTPError {
	switch {
	case r.Method != http.MethodGet: // HEAD comes here too, where GET is served
		return &HTTPError{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "this path takes GET"}
	case h.clients.isClosed():
		return overloaded(http.StatusServiceUnavailable, errStopping.Error())
	case !h.accept.Allow():
		h.metrics.countLimit(limitAcceptRate)
		return overloaded(http.StatusServiceUnavailable, "too many new connections at once")
	case r.Header.Get("Origin") != "" && !h.cfg.CheckOrigin(r):
		return forbidden("the origin is not allowed")
	}
	return nil
}

// authenticate checks a token, and whether its bearer may come in.
func (h *Hub) authenticate(ctx context.Context, a Authenticator, token string) (*Identity, *HTTPError) {
	identity, err := a.Authenticate(ctx, token)
	if err != nil {
		refused := asAuthError(err)
		if refused.RetryAfter > 0 {
			return nil, unavailable(refused.Reason, refused.RetryAfter)
		}
		h.metrics.authFailures.Inc()
		return nil, &HTTPError{Status: http.StatusUnauthorized, Code: "unauthorized", Detail: refused.Reason}
	}
	if err := h.clients.check(identity); err != nil {
		return nil, h.refuseClient(err)
	}
	return identity, nil
}

// refuseClient is the answer to a client that the registry does not let in. It counts the limit.
func (h *Hub) refuseClient(err error) *HTTPError {
	switch {
	case errors.Is(err, errRevoked):
		return forbidden(err.Error())
	case errors.Is(err, errTooManyOfAccount):
		h.metrics.countLimit(limitAccountConnections)
		return overloaded(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errTooManyConnections):
		h.metrics.countLimit(limitConnections)
	}
	return overloaded(http.StatusServiceUnavailable, err.Error())
}

// upgrade makes a client of the request, unless it is no handshake.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, a Authenticator, identity *Identity) *HTTPError {
	c := &conn{authenticator: a}
	c.session = newSession(h, r.RemoteAddr)
	c.session.transport = c
	accepted, err := h.server.Accept(w, r, &c.session.queue, c)
	if err != nil {
		return handshakeError(err)
	}
	c.net = accepted
	c.session.startClock(time.Now())
	if err := h.clients.add(c.session); err != nil {
		c.turnAway(err)
		return nil
	}
	h.metrics.connections.Inc()
	if !h.tasks.start(func() { c.run(identity) }) {
		c.finish()
	}
	return nil
}

// turnAway closes a connection that is one too many by now.
func (c *conn) turnAway(err error) {
	_ = c.session.hub.refuseClient(err) // counts
	code := protocol.CloseRateLimited
	if errors.Is(err, errStopping) {
		code = protocol.CloseGoingAway
	}
	c.closeWith(code, err.Error())
}

// handshakeError is the answer to a request that is no handshake.
func handshakeError(err error) *HTTPError {
	refused := &HTTPError{Status: http.StatusInternalServerError, Code: "internal", Detail: err.Error()}
	var wrong *netconn.AcceptError
	if errors.As(err, &wrong) {
		refused.Status = wrong.Status
	}
	switch refused.Status {
	case http.StatusUpgradeRequired:
		refused.Code = "upgrade_required"
	case http.StatusBadRequest:
		refused.Code = "invalid_request"
	}
	return refused
}

// checkSameOrigin is the default of Config.CheckOrigin.
func checkSameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// offersProtocol reports whether the client speaks our subprotocol. A client that names none is
// served too, such as a command line tool.
func offersProtocol(r *http.Request) bool {
	offered := r.Header.Values("Sec-WebSocket-Protocol")
	if len(offered) == 0 {
		return true
	}
	for _, line := range offered {
		for name := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(name) == Subprotocol {
				return true
			}
		}
	}
	return false
}
