package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Subprotocol is the name of the protocol in the WebSocket handshake.
const Subprotocol = "wallet.v1"

// Handler serves GET /v1/ws: it upgrades the request and returns; the connection
// lives on in goroutines of the hub. Run must be running.
func (h *Hub) Handler(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, refused := h.admitRequest(r, a)
		if refused == nil {
			refused = h.upgrade(w, r, a, identity)
		}
		if refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// checkMethod refuses other methods than GET. HEAD comes here too, where GET is served.
func checkMethod(r *http.Request) *HTTPError {
	if r.Method == http.MethodGet {
		return nil
	}
	return &HTTPError{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "this path takes GET"}
}

// admitRequest checks all that can be known before the upgrade. The identity is nil when the token
// is to come in the first frame.
func (h *Hub) admitRequest(r *http.Request, a Authenticator) (*Identity, *HTTPError) {
	if refused := checkMethod(r); refused != nil {
		return nil, refused
	}
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
	case h.clients.isClosed():
		return overloaded(http.StatusServiceUnavailable, errStopping.Error())
	case !h.accept.Allow():
		h.metrics.limit(limitAcceptRate)
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
		h.metrics.limit(limitAccountConnections)
		return overloaded(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errTooManyConnections):
		h.metrics.limit(limitConnections)
	}
	return overloaded(http.StatusServiceUnavailable, err.Error())
}

// upgrade makes a client of the request, unless it is no handshake.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, a Authenticator, identity *Identity) *HTTPError {
	c := &conn{authenticator: a, wire: &wire{}}
	hj := &hijack{ResponseWriter: w, wire: c.wire}
	mode := websocket.CompressionDisabled
	if h.deflate != nil {
		mode = websocket.CompressionNoContextTakeover
	}
	if err := c.accept(hj, r, mode); err != nil {
		return hj.refusal()
	}
	if w.Header().Get("Sec-WebSocket-Extensions") != "" {
		c.deflate = h.deflate
	}
	h.enter(c, identity, r.RemoteAddr)
	return nil
}

// accept makes a WebSocket of the request. The mode is that of what the client sends; the
// library compresses nothing of ours.
func (c *conn) accept(w http.ResponseWriter, r *http.Request, mode websocket.CompressionMode) (err error) {
	c.ws, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // checkRequest has checked the origin
		CompressionMode:    mode,
		OnPingReceived:     c.control,
		OnPongReceived:     func(ctx context.Context, p []byte) { c.control(ctx, p) },
	})
	return err
}

// enter lets a client in whose handshake is done.
func (h *Hub) enter(c *conn, identity *Identity, remote string) {
	c.ws.SetReadLimit(-1) // receive has one, and closes with a reason of ours
	c.session = newSession(h, newID(), remote)
	c.session.transport = c
	c.session.startClock(time.Now())
	c.loop = h.loops[int(h.nextLoop.Add(1))%len(h.loops)]
	if err := h.clients.add(c.session); err != nil {
		code := protocol.CloseRateLimited
		if errors.Is(err, errStopping) {
			code = protocol.CloseGoingAway
		}
		_ = h.refuseClient(err) // counts
		c.closeWith(code, err.Error())
		return
	}
	h.metrics.connections.Inc()
	if !h.tasks.start(func() { c.run(identity) }) {
		c.finish()
	}
}

// control is called by the library for each ping and pong of the peer. They count
// as frames, so that they are no way to keep the gateway busy.
func (c *conn) control(context.Context, []byte) bool {
	if c.code.Load() != 0 {
		return false // closing: perhaps not called by the reader, who owns the bucket
	}
	cfg := &c.session.hub.cfg
	if c.frames.take(time.Now(), cfg.FrameRate, cfg.FrameBurst) {
		return true
	}
	c.session.hub.metrics.limit(limitFrameRate)
	c.closeWith(protocol.CloseRateLimited, "too many control frames")
	return false
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// checkSameOrigin is the default of Config.CheckOrigin.
func checkSameOrigin(r *http.Request) bool {
	u, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// offersProtocol is true as well for clients that name no subprotocol at all, such
// as command line tools.
func offersProtocol(r *http.Request) bool {
	offered := r.Header.Values("Sec-WebSocket-Protocol")
	if len(offered) == 0 {
		return true
	}
	for _, line := range offered {
		for p := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(p) == Subprotocol {
				return true
			}
		}
	}
	return false
}
