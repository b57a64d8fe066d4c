package ws

import (
	"net/http"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/metrics"
	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
	"github.com/redroomrewards/realtime/pkg/ws/internal/request"
)

// Events returns the handler of GET /v1/events. It serves one subscription as server-sent events,
// for networks that do not support WebSockets. The handler returns when the stream has ended. Run
// must be running.
func (h *Hub) Events(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refused := h.serveStream(w, r, a)
		if refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// serveStream serves one client. If it returns an error, it has written no response.
func (h *Hub) serveStream(w http.ResponseWriter, r *http.Request, a Authenticator) *HTTPError {
	refused := h.checkRequest(r)
	if refused != nil {
		return refused
	}

	q, refused := parseStreamQuery(r)
	if refused != nil {
		return refused
	}

	identity, refused := h.authenticateToken(r.Context(), a, q.Token)
	if refused != nil {
		return refused
	}

	s := newSession(h, r.RemoteAddr)
	st := newStream(s, w)
	s.setTransport(st)
	s.startClock(time.Now())
	err := h.clients.addSession(s)
	if err != nil {
		return h.refuseClient(err)
	}

	h.metrics.Connections.Inc()
	defer st.endStream()

	refused = st.admitAndSubscribe(identity, q)
	if refused != nil {
		return refused
	}

	_ = st.control.SetReadDeadline(time.Time{}) // the deadline of the request would end the stream
	st.FlushQueue()
	st.writeUntilClosed(r.Context())

	return nil
}

// endStream ends the session and releases the response writer.
func (st *stream) endStream() {
	s := st.session
	s.endSession()
	code, reason := st.releaseWriter()
	s.removeFromHub()
	if !st.responseStarted {
		return // the request was refused
	}

	if code == 0 {
		code = protocol.CloseInternal
		reason = "panic" // the HTTP server's handler logs it
	}

	s.reportEnd(code, reason)
}

// admitAndSubscribe sets the identity of the client and opens its subscription.
func (st *stream) admitAndSubscribe(identity *Identity, q *protocol.StreamQuery) *HTTPError {
	s := st.session
	err := s.admitIdentity(identity)
	if err != nil {
		return s.hub.refuseClient(err)
	}

	accounts := q.Subscribe.Accounts
	if accounts == nil {
		accounts = identity.Accounts
	}

	if len(accounts) > s.hub.cfg.MaxAccounts {
		s.hub.metrics.CountLimit(metrics.LimitAccounts)
		return invalidRequestError(s.hub.validator.AccountsMessage())
	}

	accounts = request.RemoveDuplicates(accounts)
	problem := q.SetAfter(accounts)
	if problem != "" {
		return invalidRequestError(problem)
	}

	if !request.IsAllAccounts(accounts) {
		st.format.Position = protocol.NewPosition(accounts)
	}

	s.EnqueueFrame(s.welcomeFrame())
	refused := s.handleSubscribe(&q.Subscribe)
	switch {
	case refused == nil || st.responseStarted:
		return nil
	case refused.Code == protocol.CodeForbidden:
		return forbiddenError(refused.Message)
	case refused.Code == protocol.CodeSnapshotUnavailable:
		return unavailableError(refused.Message, time.Second)
	}

	return invalidRequestError(refused.Message)
}

// parseStreamQuery parses the query parameters and sets the token, which may be in a header
// instead.
func parseStreamQuery(r *http.Request) (*protocol.StreamQuery, *HTTPError) {
	q, queryErr := protocol.ParseStreamQuery(r)
	if queryErr != nil {
		return nil, invalidParameterError(queryErr.Parameter, queryErr.Detail)
	}

	if r.Header.Get("Authorization") == "" {
		return q, nil
	}

	if q.Token != "" {
		detail := "the token must be in either Authorization or access_token, not in both"
		return nil, invalidParameterError("access_token", detail)
	}

	q.Token = bearerToken(r.Header)
	return q, nil
}

// maxPointer is the maximum length of a parameter name in an error, in bytes.
const maxPointer = 64

// invalidParameterError returns the error for an invalid query parameter. The name is empty when
// the whole query is invalid.
func invalidParameterError(name, detail string) *HTTPError {
	refused := invalidRequestError(detail)
	refused.Pointer = "/" + protocol.Truncate(name, maxPointer)

	return refused
}
