package httpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// serving is a server that runs until stop.
type serving struct {
	*testing.T
	url    string
	cancel context.CancelFunc
	group  errgroup.Group
}

func startServer(t *testing.T, h http.Handler, cfg httpserver.Config) *serving {
	t.Helper()
	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{T: t, url: "http://" + ln.Addr().String(), cancel: cancel}
	cfg.Logger = quiet
	s.group.Go(func() error { return httpserver.Serve(ctx, ln, h, cfg) })
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *serving) stop() {
	s.Helper()
	s.cancel()
	if err := s.group.Wait(); err != nil {
		s.Error(err)
	}
}

func (s *serving) get(path string) (int, string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url+path, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// A stop lets a request under way finish, with its context alive.
func TestStopWaitsForRequests(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}), httpserver.Config{})
	var g errgroup.Group
	var status int
	g.Go(func() (err error) { status, _, err = s.get("/"); return err })
	<-entered
	s.cancel()
	close(leave)
	if err := g.Wait(); err != nil || status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
	s.stop()
	if _, _, err := s.get("/"); err == nil {
		t.Error("still accepts after the stop")
	}
}

// One that does not finish in time is cut off, and learns it from its context.
func TestStopCutsOff(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(ended)
	}), httpserver.Config{StopTimeout: 10 * time.Millisecond})
	var g errgroup.Group
	g.Go(func() error { _, _, err := s.get("/"); return err })
	<-entered
	s.stop()
	<-ended
	_ = g.Wait() // answered or cut off: whichever came first
}

func TestListenNamesTheFlag(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := httpserver.Listen(t.Context(), "--admin", ln.Addr().String()); err == nil || !strings.Contains(err.Error(), "--admin") {
		t.Errorf("error: %v", err)
	}
}

func TestPanicStaysInItsRequest(t *testing.T) {
	s := startServer(t, httpserver.Recover(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("secret")
		case "/after":
			_, _ = w.Write([]byte("half"))
			panic("secret")
		}
	}), quiet), httpserver.Config{})
	status, body, err := s.get("/before")
	if err != nil || status != http.StatusInternalServerError || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "secret") {
		t.Errorf("panic before the answer: %d %s %v", status, body, err)
	}
	if _, body, err := s.get("/after"); err == nil && body == "half" {
		t.Error("half an answer looks like a whole one")
	}
	if status, _, err := s.get("/fine"); err != nil || status != http.StatusOK {
		t.Errorf("after panics: %d %v", status, err)
	}
}

func TestReadiness(t *testing.T) {
	var database, redis error
	a := httpserver.NewAdmin(
		httpserver.Check{Name: "database", Ping: func(context.Context) error { return database }},
		httpserver.Check{Name: "redis", Ping: func(context.Context) error { return redis }, Degrades: true},
	)
	want := func(status int, word string) {
		t.Helper()
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		var r struct {
			Status string
			Checks map[string]string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if rec.Code != status || r.Status != word || len(r.Checks) != 2 {
			t.Errorf("readyz: %d %+v, want %d %s", rec.Code, r, status, word)
		}
	}
	want(http.StatusOK, "ready")
	redis = errors.New("away")
	want(http.StatusOK, "degraded")
	database = errors.New("away")
	want(http.StatusServiceUnavailable, "not_ready")
	database, redis = nil, nil
	a.Drain()
	want(http.StatusServiceUnavailable, "draining")
	for path, code := range map[string]int{"/healthz": 200, "/metrics": 200, "/debug/pprof/": 200, "/nothing": 404} {
		rec := httptest.NewRecorder()
		a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != code {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}
