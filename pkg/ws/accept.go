package ws

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/origin"
	"github.com/redroomrewards/realtime/internal/problem"
)

// Handler serves GET /v1/ws: it upgrades the request and returns; the connection
// lives on in goroutines of the hub. Run must be running.
func (h *Hub) Handler(v Verifier) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, refused := h.admissible(r, v)
		if refused == nil {
			refused = h.upgrade(w, r, v, claims)
		}
		if refused != nil {
			h.refuse(w, refused)
		}
	})
}

// refuse answers a request that gets no connection.
func (h *Hub) refuse(w http.ResponseWriter, refused *problem.Details) {
	h.metrics.refused(refused.Status)
	switch refused.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	}
	problem.Write(w, refused)
}

// takesGet refuses other methods. HEAD comes here too, where GET is served.
func takesGet(r *http.Request) *problem.Details {
	if r.Method == http.MethodGet {
		return nil
	}
	return problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "", "this path takes GET")
}

// admissible checks all that can be known before the upgrade. claims are nil when
// the token is to come in the first frame.
func (h *Hub) admissible(r *http.Request, v Verifier) (*auth.Claims, *problem.Details) {
	if refused := takesGet(r); refused != nil {
		return nil, refused
	}
	if refused := h.takesClients(r); refused != nil {
		return nil, refused
	}
	if !offersProtocol(r) {
		return nil, problem.New(http.StatusBadRequest, "invalid_request", "", "the subprotocol is "+Subprotocol)
	}
	if r.Header.Get("Authorization") != "" {
		return h.verify(r.Context(), v, auth.FromHeader(r.Header))
	}
	if err := h.clients.check(nil); err != nil {
		return nil, h.notAdmitted(err)
	}
	return nil, nil
}

// takesClients checks what does not depend on who comes.
func (h *Hub) takesClients(r *http.Request) *problem.Details {
	switch {
	case h.clients.isClosed():
		return overloaded(http.StatusServiceUnavailable, errStopping.Error())
	case !h.accept.Allow():
		h.metrics.limit(limitAcceptRate)
		return overloaded(http.StatusServiceUnavailable, "too many new connections at once")
	case !h.originAllowed(r):
		return problem.New(http.StatusForbidden, "forbidden", "", "the origin is not allowed")
	}
	return nil
}

// verify checks a token and whether its bearer may come in.
func (h *Hub) verify(ctx context.Context, v Verifier, raw string) (*auth.Claims, *problem.Details) {
	claims, err := v.Verify(ctx, raw)
	if errors.Is(err, auth.ErrUnavailable) {
		d := problem.New(http.StatusServiceUnavailable, "unavailable", "", auth.Reason(err))
		d.RetryAfter = auth.RetryAfterSeconds
		return nil, d
	}
	if err != nil {
		h.metrics.authFailures.Inc()
		return nil, problem.New(http.StatusUnauthorized, "unauthorized", "", auth.Reason(err))
	}
	if err := h.clients.check(claims); err != nil {
		return nil, h.notAdmitted(err)
	}
	return claims, nil
}

// notAdmitted answers whom the registry does not let in.
func (h *Hub) notAdmitted(err error) *problem.Details {
	switch {
	case errors.Is(err, errRevoked):
		return problem.New(http.StatusForbidden, "forbidden", "", err.Error())
	case errors.Is(err, errTooManyOfAccount):
		h.metrics.limit(limitAccountConnections)
		return overloaded(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errTooManyConnections):
		h.metrics.limit(limitConnections)
	}
	return overloaded(http.StatusServiceUnavailable, err.Error())
}

func overloaded(status int, detail string) *problem.Details {
	d := problem.New(status, "overloaded", "", detail)
	d.RetryAfter = 1
	return d
}

// upgrade makes a client of the request, unless it is no handshake.
func (h *Hub) upgrade(w http.ResponseWriter, r *http.Request, v Verifier, claims *auth.Claims) *problem.Details {
	c := &conn{verifier: v, wire: &wire{}}
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
	h.enter(c, claims, r.RemoteAddr)
	return nil
}

// accept makes a WebSocket of the request. The mode is that of what the client sends; the
// library compresses nothing of ours.
func (c *conn) accept(w http.ResponseWriter, r *http.Request, mode websocket.CompressionMode) (err error) {
	c.ws, err = websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // originAllowed has looked
		CompressionMode:    mode,
		OnPingReceived:     c.control,
		OnPongReceived:     func(ctx context.Context, p []byte) { c.control(ctx, p) },
	})
	return err
}

// enter lets a client in whose handshake is done.
func (h *Hub) enter(c *conn, claims *auth.Claims, remote string) {
	c.ws.SetReadLimit(-1) // receive has one, and closes with a reason of ours
	c.session = newSession(h, newID(), remote)
	c.session.transport = c
	c.session.startClock(time.Now())
	c.loop = h.loops[int(h.nextLoop.Add(1))%len(h.loops)]
	if err := h.clients.add(c.session); err != nil {
		code := closeRateLimited
		if errors.Is(err, errStopping) {
			code = closeGoingAway
		}
		_ = h.notAdmitted(err) // counts
		c.shut(code, err.Error())
		return
	}
	h.metrics.connections.Inc()
	if !h.tasks.start(func() { c.run(claims) }) {
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
	c.shut(closeRateLimited, "too many control frames")
	return false
}

func newID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// originAllowed protects browsers' users: a page of another site must not open a
// connection in their name. Clients that are no browsers send no Origin.
func (h *Hub) originAllowed(r *http.Request) bool {
	from := r.Header.Get("Origin")
	return from == "" || origin.Allowed(h.cfg.AllowedOrigins, from, r.Host)
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
