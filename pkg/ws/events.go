package ws

import (
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// Events serves GET /v1/events: one subscription as server-sent events, for networks that break
// WebSockets. The handler returns when the stream has ended. Run must be running.
func (h *Hub) Events(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused := h.serveStream(w, r, a); refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// serveStream serves one client. An error means that no answer has begun.
func (h *Hub) serveStream(w http.ResponseWriter, r *http.Request, a Authenticator) *HTTPError {
	if refused := h.checkRequest(r); refused != nil {
		return refused
	}
	q, refused := parseStreamQuery(r)
	if refused != nil {
		return refused
	}
	identity, refused := h.authenticate(r.Context(), a, q.Token)
	if refused != nil {
		return refused
	}
	s := newSession(h, r.RemoteAddr)
	st := newStream(s, w)
	s.transport = st
	s.startClock(time.Now())
	if err := h.clients.add(s); err != nil {
		return h.refuseClient(err)
	}
	h.metrics.connections.Inc()
	defer st.finish()
	if refused := st.subscribe(identity, q); refused != nil {
		return refused
	}
	_ = st.control.SetReadDeadline(time.Time{}) // that of the request would end the stream
	st.flushQueue()
	st.run(r.Context())
	return nil
}

// finish takes the client out of the hub.
func (st *stream) finish() {
	s := st.session
	s.end()
	code, detail := st.leave()
	s.remove()
	if !st.begun {
		return // refused
	}
	if code == 0 {
		code = protocol.CloseInternal
		detail = "panic" // which the server's handler logs
	}
	s.logEnd(code, detail)
}

// subscribe lets the client in and opens its subscription.
func (st *stream) subscribe(identity *Identity, q *protocol.StreamQuery) *HTTPError {
	s := st.session
	if err := s.admit(identity); err != nil {
		return s.hub.refuseClient(err)
	}
	accounts := q.Subscribe.Accounts
	if accounts == nil {
		accounts = identity.Accounts
	}
	if len(accounts) > s.hub.cfg.MaxAccounts {
		s.hub.metrics.countLimit(limitAccounts)
		return invalidRequest("too many accounts")
	}
	accounts = distinct(accounts)
	if wrong := q.SetAfter(accounts); wrong != "" {
		return invalidRequest(wrong)
	}
	if !isEveryAccount(accounts) {
		st.format.Position = protocol.NewPosition(accounts)
	}
	s.enqueueFrame(s.welcomeFrame())
	refused := s.subscribe(&q.Subscribe)
	switch {
	case refused == nil || st.begun:
		return nil
	case refused.Code == protocol.CodeForbidden:
		return forbidden(refused.Message)
	case refused.Code == protocol.CodeSnapshotUnavailable:
		return unavailable(refused.Message, time.Second)
	}
	return invalidRequest(refused.Message)
}

// parseStreamQuery reads the parameters and the token, which may come in the header instead.
func parseStreamQuery(r *http.Request) (*protocol.StreamQuery, *HTTPError) {
	q, wrong := protocol.ParseStreamQuery(r)
	if wrong != nil {
		return nil, invalidParameter(wrong.Parameter, wrong.Detail)
	}
	if r.Header.Get("Authorization") == "" {
		return q, nil
	}
	if q.Token != "" {
		return nil, invalidParameter("access_token", "the token comes in Authorization or in access_token, not in both")
	}
	q.Token = bearerToken(r.Header)
	return q, nil
}

// maxPointer is the longest name of a parameter in an error, in bytes.
const maxPointer = 64

// invalidParameter is an error in a query parameter. An empty name is that of the whole query.
func invalidParameter(name, detail string) *HTTPError {
	refused := invalidRequest(detail)
	refused.Pointer = "/" + protocol.Truncate(name, maxPointer)
	return refused
}
