package httpserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// echo answers what it was asked, and how the server read it: a plain request has
// no http.Server in its context.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	by := "lane"
	if r.Context().Value(http.ServerContextKey) != nil {
		by = "net/http"
	}
	w.Header().Set("Read-By", by)
	w.Header().Set("Injected", "a\r\nb")
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Idempotency-Key"), body)
})

// line is a raw connection.
type line struct {
	*testing.T
	conn net.Conn
	read *bufio.Reader
}

func (s *serving) dial() *line {
	s.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &line{s.T, conn, bufio.NewReader(conn)}
}

func (l *line) send(text string) {
	l.Helper()
	if _, err := l.conn.Write([]byte(text)); err != nil {
		l.Fatal(err)
	}
}

// answered reads an answer and checks its body and who read the request.
func (l *line) answered(by, body string) *http.Response {
	l.Helper()
	resp, err := http.ReadResponse(l.read, nil)
	if err != nil {
		l.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated || string(got) != body || resp.Header.Get("Read-By") != by ||
		resp.Header.Get("Injected") != "a  b" || resp.Header.Get("Date") == "" {
		l.Fatalf("%d %v %q %v; want %q by %s", resp.StatusCode, resp.Header, got, err, body, by)
	}
	return resp
}

func (l *line) ended() {
	l.Helper()
	if n, err := l.read.ReadByte(); err == nil {
		l.Fatalf("byte %q follows", n)
	} else if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // as it comes
		l.Fatal("the connection is still open")
	}
}

func post(body string) string {
	return fmt.Sprintf("POST /v1/x HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// Plain requests take the lane, in any number of pieces; from the first other one on the connection is net/http's.
func TestLane(t *testing.T) {
	s := serve(t, echo, httpserver.Config{Plain: "/v1/"})
	l := s.dial()
	l.send(post("one"))
	l.answered("lane", "POST /v1/x k one")
	l.send(post("two") + post("three") + post("four")[:20])
	l.answered("lane", "POST /v1/x k two")
	l.answered("lane", "POST /v1/x k three")
	l.send(post("four")[20:])
	l.answered("lane", "POST /v1/x k four")
	large := strings.Repeat("x", 16<<10)
	l.send(post(large)[:70])
	l.send(post(large)[70:])
	l.answered("lane", "POST /v1/x k "+large)
	l.send(post("five") + "\r\n" + post("six") + "\r") // as old clients do
	l.answered("lane", "POST /v1/x k five")
	l.answered("lane", "POST /v1/x k six")
	l.send("\n")
	l.send("GET /v1/y?z=1 HTTP/1.1\r\nHost: h\r\n\r\n")
	l.answered("lane", "GET /v1/y?z=1  ")
	l.send("PUT /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" + post("seven"))
	l.answered("net/http", "PUT /v1/x  ab")
	l.answered("net/http", "POST /v1/x k seven")
	for name, text := range map[string]string{
		"a larger body": post(large + "x"), "lines without CR": "GET /v1/y HTTP/1.1\nHost: h\n\n",
	} {
		l := s.dial()
		l.send(text)
		resp, err := http.ReadResponse(l.read, nil)
		if err != nil || resp.Header.Get("Read-By") != "net/http" {
			t.Errorf("%s: %v, %v", name, resp, err)
			continue
		}
		_ = resp.Body.Close()
	}

	status, body, err := s.get("/docs") // with Connection: close
	if err != nil || status != http.StatusCreated || body != "GET /docs  " {
		t.Errorf("%d %q %v", status, body, err)
	}
}

// A client that sends half a request is net/http's when it goes on too slowly, or has gone.
func TestLaneHalfARequest(t *testing.T) {
	s := serve(t, echo, httpserver.Config{Plain: "/v1/", ReadTimeout: 50 * time.Millisecond, ReadHeaderTimeout: 50 * time.Millisecond})
	l := s.dial()
	l.send(post("late")[:73])
	resp, err := http.ReadResponse(l.read, nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("half a body: %v %v", resp, err)
	}
	for name, sent := range map[string]string{"nothing": "", "half a head": post("")[:30]} {
		l := s.dial()
		l.send(sent)
		l.ended()
		_ = name
	}
	l = s.dial()
	for range 3 { // between requests it has more time
		l.send(post("x"))
		l.answered("lane", "POST /v1/x k x")
	}
}

// A half request has its time once, not once in the lane and once more with net/http.
func TestLaneHandsOverWhatIsLate(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	s := serve(t, echo, httpserver.Config{Plain: "/v1/", ReadTimeout: timeout, ReadHeaderTimeout: timeout})
	body, head := s.dial(), s.dial()
	for _, l := range []*line{body, head} {
		_ = l.conn.SetDeadline(time.Now().Add(2*timeout - 500*time.Millisecond))
	}
	body.send(post("late")[:73])
	head.send(post("")[:30])
	if resp, err := http.ReadResponse(body.read, nil); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("half a body: %v %v", resp, err)
	}
	head.ended()
}

func TestLaneIdle(t *testing.T) {
	s := serve(t, echo, httpserver.Config{Plain: "/v1/", IdleTimeout: 50 * time.Millisecond})
	l := s.dial()
	l.send(post("x"))
	l.answered("lane", "POST /v1/x k x")
	l.ended()
}

// A stop ends idle connections at once, and others after their answer.
func TestLaneStops(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/slow" {
			close(entered)
			<-leave
		}
		echo(w, r)
	}), httpserver.Config{Plain: "/v1/"})
	idle, fresh, busy := s.dial(), s.dial(), s.dial()
	idle.send(post("x"))
	idle.answered("lane", "POST /v1/x k x")
	busy.send(strings.Replace(post("y"), "/v1/x", "/v1/slow", 1) + post("z"))
	<-entered
	s.cancel()
	idle.ended()
	fresh.ended()
	close(leave)
	if resp := busy.answered("lane", "POST /v1/slow k y"); !resp.Close {
		t.Error("the answer does not say that the connection ends")
	}
	busy.ended()
	s.stop()
}

func TestLaneCutsOff(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(ended)
	}), httpserver.Config{Plain: "/v1/", StopTimeout: 10 * time.Millisecond})
	l := s.dial()
	l.send(post(""))
	<-entered
	s.stop()
	<-ended
}

func TestLanePanics(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("ouch")
	}), httpserver.Config{Plain: "/v1/"})
	for range 2 {
		l := s.dial()
		l.send(post(""))
		l.ended()
	}
}

// Clients come, ask and go while the server stops.
func TestLaneUnderLoad(t *testing.T) {
	s := serve(t, echo, httpserver.Config{Plain: "/v1/"})
	var g errgroup.Group
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for range 8 {
		g.Go(func() error {
			for ctx.Err() == nil {
				l := s.dial()
				for range 5 {
					l.send(post("x"))
					if resp, err := http.ReadResponse(l.read, nil); err != nil || resp.StatusCode != http.StatusCreated {
						return fmt.Errorf("%v %w", resp, err)
					} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						return err
					}
				}
				_ = l.conn.Close()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
