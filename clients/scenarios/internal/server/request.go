package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// decideTimeout bounds how long a decision waits for the request's goroutine.
const decideTimeout = 30 * time.Second

// A Request is a request that waits for the scenario's decision.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header

	raw      *silentConn
	decision chan decision
}

type decision func(w http.ResponseWriter, r *http.Request)

func (q *Request) decide(d decision) error {
	timer := time.NewTimer(decideTimeout)
	defer timer.Stop()
	select {
	case q.decision <- d:
		return nil
	case <-timer.C:
		return fmt.Errorf("the request %s must still be open", q.URL)
	}
}

// Describe returns what a scenario can expect of a request.
func (q *Request) Describe() map[string]any {
	headers := map[string]any{}
	for name := range q.Header {
		headers[strings.ToLower(name)] = q.Header.Get(name)
	}
	query := map[string]any{}
	for name := range q.URL.Query() {
		query[name] = q.URL.Query().Get(name)
	}
	return map[string]any{
		"method":   q.Method,
		"path":     q.URL.Path,
		"query":    query,
		"headers":  headers,
		"protocol": q.Header.Get("Sec-WebSocket-Protocol"),
	}
}

// IsSocket tells whether the request is the handshake of a WebSocket.
func (q *Request) IsSocket() bool {
	return strings.EqualFold(q.Header.Get("Upgrade"), "websocket")
}

// Token returns the token of the request's Authorization header.
func (q *Request) Token() (string, bool) {
	return strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
}

// Refuse answers with a problem document.
func (q *Request) Refuse(status int, headers map[string]string, code, detail string) error {
	problem, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
	})
	if err != nil {
		return err
	}
	return q.decide(func(w http.ResponseWriter, r *http.Request) {
		allowOrigin(w, r)
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = w.Write(problem)
	})
}

// Cut cuts the connection without an answer.
func (q *Request) Cut() error {
	return q.decide(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	})
}

// Hang never answers. The connection's end is noted.
func (s *Server) Hang(q *Request) (*Conn, error) {
	c := newConn(s, q)
	return c, q.decide(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			c.noteClosed(Closed{})
		case <-s.ctx.Done():
		}
		panic(http.ErrAbortHandler)
	})
}

// Accept accepts the handshake of a WebSocket.
func (s *Server) Accept(q *Request) (*Conn, error) {
	c := newConn(s, q)
	accepted := make(chan error, 1)
	err := q.decide(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"wallet.v1"}, InsecureSkipVerify: true,
		})
		c.socket = socket
		accepted <- err
		if err == nil {
			c.readSocket(s.ctx)
		}
	})
	if err != nil {
		return nil, err
	}
	return c, <-accepted
}

// Stream answers with an event stream.
func (s *Server) Stream(q *Request) (*Conn, error) {
	c := newConn(s, q)
	c.stream = make(chan string)
	c.streamEnd = make(chan bool, 1)
	return c, q.decide(func(w http.ResponseWriter, r *http.Request) {
		allowOrigin(w, r)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = fmt.Fprint(w, "retry: 3000\n")
		_ = http.NewResponseController(w).Flush()
		c.writeStream(w, r)
	})
}
