package httpserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// rawConn is a client that sends raw bytes.
type rawConn struct {
	*testing.T
	conn   net.Conn
	reader *bufio.Reader
}

func (s *serving) dial(t *testing.T) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return &rawConn{t, conn, bufio.NewReader(conn)}
}

func (c *rawConn) send(text string) {
	c.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.Fatal(err)
	}
}

func (c *rawConn) readResponse() (status int, body string, closes bool) {
	c.Helper()
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Close
}

// expectClosed requires that the server closes the connection without more data.
func (c *rawConn) expectClosed() {
	c.Helper()
	_, err := c.reader.ReadByte()
	switch {
	case err == nil:
		c.Error("got more data, want the end of the connection")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.Error("got an open connection, want its end")
	}
}

// echoHandler answers with the body of the request, or with 400 if it cannot be read.
var echoHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
})

// formatPost returns a POST request.
func formatPost(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func TestSlowRequestsTimeOut(t *testing.T) {
	s := startServer(t, echoHandler, httpserver.Config{ReadTimeout: 50 * time.Millisecond, ReadHeaderTimeout: 50 * time.Millisecond})
	request := formatPost("/", "body")
	for name, sent := range map[string]string{"nothing": "", "half of the header": request[:20]} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			c.send(sent)
			answer, err := io.ReadAll(c.reader)
			if err != nil {
				t.Error(err)
			}
			if strings.Contains(string(answer), " 200 ") {
				t.Errorf("got answer %q, want the end of the connection", answer)
			}
		})
	}
	t.Run("half of the body", func(t *testing.T) {
		c := s.dial(t)
		c.send(request[:len(request)-2])
		status, _, _ := c.readResponse()
		if status != http.StatusBadRequest {
			t.Errorf("got status %d, want 400", status)
		}
		c.expectClosed()
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	s := startServer(t, echoHandler, httpserver.Config{IdleTimeout: 50 * time.Millisecond})
	c := s.dial(t)
	c.send(formatPost("/", "x"))
	status, body, _ := c.readResponse()
	if status != http.StatusOK || body != "x" {
		t.Errorf("got answer %d %q, want 200 x", status, body)
	}
	c.expectClosed()
}

func TestLargeHeadersAreRefused(t *testing.T) {
	s := startServer(t, echoHandler, httpserver.Config{MaxHeaderBytes: 1 << 10})
	c := s.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: h\r\nLarge: " + strings.Repeat("x", 16<<10) + "\r\n\r\n")
	status, _, _ := c.readResponse()
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got status %d, want 431", status)
	}
}

// A stop closes idle connections at once and busy connections after their answer.
func TestStopClosesConnections(t *testing.T) {
	entered := make(chan struct{})
	proceed := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-proceed
		}
		echoHandler(w, r)
	}), httpserver.Config{})
	idle := s.dial(t)
	idle.send(formatPost("/", "x"))
	idle.readResponse()
	busy := s.dial(t)
	busy.send(formatPost("/slow", "y"))
	<-entered
	s.cancel()
	idle.expectClosed()
	close(proceed)
	status, body, closes := busy.readResponse()
	if status != http.StatusOK || body != "y" {
		t.Errorf("got answer %d %q, want 200 y", status, body)
	}
	if !closes {
		t.Error("got an answer without Connection: close")
	}
	busy.expectClosed()
	s.stop()
}

// The context of a request ends when its client disconnects.
func TestDisconnectEndsContext(t *testing.T) {
	entered := make(chan struct{})
	ended := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(entered)
		<-r.Context().Done()
		close(ended)
	}), httpserver.Config{})
	c := s.dial(t)
	c.send(formatPost("/", "x"))
	<-entered
	_ = c.conn.Close()
	<-ended
}
