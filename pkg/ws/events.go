package ws

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// streamName is what the one subscription of a stream is called in its frames.
const streamName = "wallet"

const lastEventID = "Last-Event-ID"

// Events serves GET /v1/events: one subscription as server-sent events, for
// networks that break WebSockets. The handler returns when the stream has ended.
// Run must be running.
func (h *Hub) Events(a Authenticator) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused := h.stream(w, r, a); refused != nil {
			h.refuseRequest(w, r, refused)
		}
	})
}

// stream serves one client. A refusal means that no answer has begun.
func (h *Hub) stream(w http.ResponseWriter, r *http.Request, a Authenticator) *HTTPError {
	if refused := checkMethod(r); refused != nil {
		return refused
	}
	if refused := h.checkRequest(r); refused != nil {
		return refused
	}
	q, refused := parseQuery(r)
	if refused != nil {
		return refused
	}
	identity, refused := h.authenticate(r.Context(), a, q.token)
	if refused != nil {
		return refused
	}
	s := newSession(h, newID(), r.RemoteAddr)
	st := newStream(s, w)
	s.transport = st
	s.startClock(time.Now())
	if err := h.clients.add(s); err != nil {
		return h.refuseClient(err)
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
	if refused := st.subscribe(identity, q); refused != nil {
		return refused
	}
	_ = st.control.SetReadDeadline(time.Time{}) // the request's; it would end the stream
	st.flush()
	st.run(r.Context())
	return nil
}

// subscribe lets the client in and opens its subscription.
func (st *stream) subscribe(identity *Identity, q *query) *HTTPError {
	s := st.session
	if err := s.admit(identity); err != nil {
		return s.hub.refuseClient(err)
	}
	accounts := q.frame.Accounts
	if accounts == nil {
		accounts = identity.Accounts
	}
	if len(accounts) > s.hub.cfg.MaxAccounts {
		s.hub.metrics.limit(limitAccounts)
		return invalidRequest("too many accounts")
	}
	accounts = distinct(accounts)
	if q.after != "" {
		var ok bool
		if q.frame.After, ok = parseAfter(q.after, accounts); !ok {
			return invalidRequest(q.from + " is no id of this stream")
		}
		if q.from == lastEventID { // it comes by itself, from before the client chose other accounts
			maps.DeleteFunc(q.frame.After, func(a string, _ int64) bool { return !slices.Contains(accounts, a) })
		}
	}
	if len(accounts) != 1 || accounts[0] != everyAccount {
		st.position = newPosition(accounts)
	}
	s.enqueue(item{frame: s.welcomed()})
	refused := s.subscribe(&q.frame)
	switch {
	case refused == nil || st.begun:
		return nil
	case refused.code == codeForbidden:
		return forbidden(refused.message)
	case refused.code == codeSnapshotUnavailable:
		return unavailable(refused.message, time.Second)
	}
	return invalidRequest(refused.message)
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
func parseQuery(r *http.Request) (*query, *HTTPError) {
	bad := func(name, detail string) (*query, *HTTPError) {
		refused := invalidRequest(detail)
		refused.Pointer = "/" + clip(name, 64)
		return nil, refused
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
		q.token = bearerToken(r.Header)
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
