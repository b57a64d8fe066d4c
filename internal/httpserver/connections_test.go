package httpserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// If all connections have a request, a new connection is closed.
func TestBusyConnectionsAreKept(t *testing.T) {
	entered := make(chan struct{}, 2)
	proceed := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-proceed
		}
		echoHandler(w, r)
	}), httpserver.Config{MaxConnections: 2})
	busy := []*rawConn{s.dial(t), s.dial(t)}
	for _, c := range busy {
		c.send(formatPost("/slow", "x"))
		<-entered
	}
	for range 5 {
		s.dial(t).expectClosed()
	}

	close(proceed)
	for _, c := range busy {
		status, _, _ := c.readResponse()
		if status != http.StatusOK {
			t.Errorf("got status %d, want 200", status)
		}
	}
}

func TestRequestsBeyondTheBoundAreRefused(t *testing.T) {
	entered := make(chan struct{})
	proceed := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-proceed
		}
		_, _ = io.WriteString(w, "done")
	}), httpserver.Config{MaxRequests: 1})
	slow := s.dial(t)
	slow.send(formatPost("/slow", "x"))
	<-entered
	status, body, err := s.get("/")
	if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"overloaded"`) {
		t.Errorf("got %d %s %v, want 503 overloaded", status, body, err)
	}

	close(proceed)
	slow.readResponse()
	status, _, err = s.get("/")
	if err != nil || status != http.StatusOK {
		t.Errorf("after the request: got %d %v, want 200", status, err)
	}
}
