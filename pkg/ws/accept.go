package ws

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/netconn"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Subprotocol is the name of the protocol in the WebSocket handshake.
const Subprotocol = "wallet.v1"

// Handler returns the handler of GET /v1/ws. It upgrades the request and returns. Goroutines of the
// hub then serve the connection. Run must be running.
func (h *Hub) Handler(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, refused := h.admitHandshake(r, a)
		if refused == nil {
			refused = h.upgradeRequest(w, r, a, identity)
		}
		if refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// admitHandshake checks everything that can be checked before the upgrade. The identity is nil when
// the request has no token. The token is then expected in the first frame.
func (h *Hub) admitHandshake(r *http.Request, a Authenticator) (*Identity, *HTTPError) {
	refused := h.checkRequest(r)
	if refused != nil {
		return nil, refused
	}

	if !offersSubprotocol(r) {
		return nil, invalidRequestError("Sec-WebSocket-Protocol must include " + Subprotocol)
	}

	if r.Header.Get("Authorization") != "" {
		return h.authenticateToken(r.Context(), a, bearerToken(r.Header))
	}

	err := h.clients.checkAdmission(nil)
	if err != nil {
		return nil, h.refuseClient(err)
	}

	return nil, nil
}

// checkRequest makes the checks that do not depend on the identity of the client.
func (h *Hub) checkRequest(r *http.Request) *HTTPError {
	hasOrigin := r.Header.Get("Origin") != ""
	hasTwoTokens := len(r.Header["Authorization"]) > 1
	switch {
	case r.Method != http.MethodGet: // a route for GET also receives HEAD
		return &HTTPError{
			Status: http.StatusMethodNotAllowed,
			Code:   "method_not_allowed",
			Detail: "the method must be GET",
		}
	case h.clients.isClosed():
		return overloadedError(http.StatusServiceUnavailable, errStopping.Error())
	case h.clients.checkNetwork(networkOf(r.RemoteAddr)) != nil:
		return h.refuseClient(errTooManyPerAddress)
	case !h.accept.Allow():
		h.metrics.CountLimit(metrics.LimitAcceptRate)
		return overloadedError(http.StatusServiceUnavailable, "too many new connections")
	case hasOrigin && !h.cfg.CheckOrigin(r):
		return forbiddenError("the origin is not allowed")
	case hasTwoTokens: // which of them counts would depend on the reader
		refused := invalidRequestError("the Authorization header must be given only once")
		refused.Pointer = "/authorization"
		return refused
	}

	return nil
}

// authenticateToken checks a token and whether a client with its identity may connect.
func (h *Hub) authenticateToken(
	ctx context.Context, a Authenticator, token string,
) (*Identity, *HTTPError) {
	identity, err := a.Authenticate(ctx, token)
	if err != nil {
		refused := asAuthError(err)
		if refused.RetryAfter > 0 {
			return nil, unavailableError(refused.Reason, refused.RetryAfter)
		}

		h.metrics.AuthFailures.Inc()
		return nil, &HTTPError{
			Status: http.StatusUnauthorized,
			Code:   "unauthorized",
			Detail: refused.Reason,
		}
	}

	err = h.clients.checkAdmission(identity)
	if err != nil {
		return nil, h.refuseClient(err)
	}

	return identity, nil
}

// refuseClient returns the response to a client that the registry does not admit. It counts the
// limit that the client exceeded.
func (h *Hub) refuseClient(err error) *HTTPError {
	switch {
	case errors.Is(err, errRevoked):
		return forbiddenError(err.Error())
	case errors.Is(err, errTooManyPerAccount):
		h.metrics.CountLimit(metrics.LimitAccountConnections)
		return overloadedError(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errTooManyPerAddress):
		h.metrics.CountLimit(metrics.LimitAddressConnections)
		return overloadedError(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errTooManyConnections):
		h.metrics.CountLimit(metrics.LimitConnections)
	}

	return overloadedError(http.StatusServiceUnavailable, err.Error())
}

// upgradeRequest upgrades the request to a WebSocket and starts its reader. It returns an error
// when the request is not a valid handshake.
func (h *Hub) upgradeRequest(
	w http.ResponseWriter, r *http.Request, a Authenticator, identity *Identity,
) *HTTPError {
	c := &conn{authenticator: a}
	c.session = newSession(h, r.RemoteAddr)
	c.session.setTransport(c)
	accepted, err := h.server.Accept(w, r, &c.session.Queue, c)
	if err != nil {
		return handshakeError(err)
	}

	c.net = accepted
	c.session.startClock(time.Now())
	err = h.clients.addSession(c.session)
	if err != nil {
		c.closeRejected(err)
		return nil
	}

	h.metrics.Connections.Inc()
	started := h.tasks.startTask(func() { c.runReader(identity) })
	if !started {
		c.endConn()
	}

	return nil
}

// closeRejected closes a connection that the registry did not admit after the upgrade.
func (c *conn) closeRejected(err error) {
	_ = c.session.hub.refuseClient(err) // only to count the limit
	code := protocol.CloseRateLimited
	if errors.Is(err, errStopping) {
		code = protocol.CloseGoingAway
	}

	c.CloseWith(code, err.Error())
}

// handshakeError returns the response to a request that is not a valid handshake.
func handshakeError(err error) *HTTPError {
	refused := &HTTPError{
		Status: http.StatusInternalServerError,
		Code:   "internal",
		Detail: err.Error(),
	}

	var acceptErr *netconn.AcceptError
	if errors.As(err, &acceptErr) {
		refused.Status = acceptErr.Status
	}

	switch refused.Status {
	case http.StatusUpgradeRequired:
		refused.Code = "upgrade_required"
	case http.StatusBadRequest:
		refused.Code = "invalid_request"
	}

	return refused
}

// The length of the network that counts as one address.
const (
	addressBits4 = 32
	addressBits6 = 64
)

// networkOf returns the network to which the client with the remote address belongs. It is zero for
// a loopback address, and if the address is unknown.
func networkOf(remote string) netip.Prefix {
	withPort, err := netip.ParseAddrPort(remote)
	addr := withPort.Addr().Unmap()
	if err != nil || addr.IsLoopback() {
		return netip.Prefix{}
	}

	bits := addressBits6
	if addr.Is4() {
		bits = addressBits4
	}

	network, _ := addr.WithZone("").Prefix(bits) // fails only for a wrong number of bits
	return network
}

// checkSameOrigin is the default of Config.CheckOrigin.
func checkSameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// offersSubprotocol reports whether the client offers Subprotocol. It is also true for a client
// that offers no subprotocol, such as a command line tool.
func offersSubprotocol(r *http.Request) bool {
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
