package ws

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/problem"
)

// streamName is what the one subscription of a stream is called in its frames.
const streamName = "wallet"

const lastEventID = "Last-Event-ID"

// Events serves GET /v1/events: one subscription as server-sent events, for
// networks that break WebSockets. The handler returns when the stream has ended.
// Run must be running.
func (h *Hub) Events(v Verifier) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused := h.stream(w, r, v); refused != nil {
			h.refuse(w, refused)
		}
	})
}

// stream serves one client. A refusal means that no answer has begun.
func (h *Hub) stream(w http.ResponseWriter, r *http.Request, v Verifier) *problem.Details {
	if refused := takesGet(r); refused != nil {
		return refused
	}
	if refused := h.takesClients(r); refused != nil {
		return refused
	}
	q, refused := parseQuery(r)
	if refused != nil {
		return refused
	}
	claims, refused := h.verify(r.Context(), v, q.token)
	if refused != nil {
		return refused
	}
	s := newSession(h, newID(), r.RemoteAddr)
	st := newStream(s, w)
	s.transport = st
	s.startClock(time.Now())
	if err := h.clients.add(s); err != nil {
		return h.notAdmitted(err)
	}
	h.metrics.connections.Inc()
	defer func() {
		s.end()
		code, detail := st.leave()
		s.remove()
		if !st.begun {
			return // a refusal
		}
		if code == 0 {
			code, detail = closeInternal, "panic" // which the server's handler logs
		}
		s.left(code, detail)
	}()
	if refused := st.subscribe(claims, q); refused != nil {
		return refused
	}
	_ = st.control.SetReadDeadline(time.Time{}) // the request's; it would end the stream
	st.flush()
	st.run(r.Context())
	return nil
}

// subscribe lets the client in and opens its subscription.
func (st *stream) subscribe(claims *auth.Claims, q *query) *problem.Details {
	s := st.session
	if err := s.admit(claims); err != nil {
		return s.hub.notAdmitted(err)
	}
	accounts := q.frame.Accounts
	if accounts == nil {
		accounts = claims.Accounts
	}
	if len(accounts) > s.hub.cfg.MaxAccounts {
		s.hub.metrics.limit(limitAccounts)
		return problem.New(http.StatusBadRequest, "invalid_request", "", "too many accounts")
	}
	accounts = distinct(accounts)
	if q.after != "" {
		var ok bool
		if q.frame.After, ok = parseAfter(q.after, accounts); !ok {
			return problem.New(http.StatusBadRequest, "invalid_request", "", q.from+" is no id of this stream")
		}
		if q.from == lastEventID { // it comes by itself, from before the client chose other accounts
			maps.DeleteFunc(q.frame.After, func(a string, _ int64) bool { return !slices.Contains(accounts, a) })
		}
	}
	if len(accounts) != 1 || accounts[0] != everyAccount {
		st.position = newPosition(accounts)
	}
	s.queue(item{frame: s.welcomed()})
	refused := s.subscribe(&q.frame)
	switch {
	case refused == nil || st.begun:
		return nil
	case refused.code == codeForbidden:
		return problem.New(http.StatusForbidden, "forbidden", "", refused.message)
	case refused.code == codeSnapshotUnavailable:
		d := problem.New(http.StatusServiceUnavailable, "unavailable", "", refused.message)
		d.RetryAfter = 1
		return d
	}
	return problem.New(http.StatusBadRequest, "invalid_request", "", refused.message)
}

// query is what the request asks for.
type query struct {
	token string
	after string // position; empty: none
	from  string // where it was given
	frame clientFrame
}

// parseQuery reads the parameters, which are the members of a subscribe frame.
// Unknown ones are refused, so that a misspelt filter never means everything.
func parseQuery(r *http.Request) (*query, *problem.Details) {
	bad := func(name, detail string) (*query, *problem.Details) {
		d := problem.New(http.StatusBadRequest, "invalid_request", "Invalid request", detail)
		d.Errors = []problem.Field{{Pointer: "/" + clip(name, 64), Detail: detail}}
		return nil, d
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("", "the query is malformed")
	}
	name := streamName
	q := &query{frame: clientFrame{Op: opSubscribe, Sub: &name}}
	for name, list := range values {
		switch name {
		case "accounts", "types", "reasons", "features":
			words := strings.Split(strings.Join(list, ","), ",")
			*map[string]*[]string{
				"accounts": &q.frame.Accounts, "types": &q.frame.Types, "reasons": &q.frame.Reasons, "features": &q.frame.Features,
			}[name] = words
			continue
		}
		if len(list) > 1 {
			return bad(name, "is given more than once")
		}
		switch value := list[0]; name {
		case "minAmount":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return bad(name, "minAmount is a whole number")
			}
			q.frame.MinAmount = &n
		case "snapshot":
			b := value == "true"
			if !b && value != "false" {
				return bad(name, "snapshot is true or false")
			}
			q.frame.Snapshot = &b
		case "after":
			q.after, q.from = value, name
		case "access_token":
			q.token = value
		default:
			return bad(name, "there is no such parameter")
		}
	}
	if id := r.Header.Get(lastEventID); id != "" {
		q.after, q.from = id, lastEventID // newer than the one in the URL, with which the client came first
	}
	if r.Header.Get("Authorization") != "" {
		if q.token != "" {
			return bad("access_token", "the token comes in Authorization or in access_token, not in both")
		}
		q.token = auth.FromHeader(r.Header)
	}
	return q, nil
}

func distinct(list []string) []string {
	out := make([]string, 0, len(list))
	seen := map[string]bool{}
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
