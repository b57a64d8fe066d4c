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

// A stop lets a running request finish. The context of the request does not end.
func TestStopWaitsForRequests(t *testing.T) {
	entered := make(chan struct{})
	proceed := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-proceed
		if r.Context().Err() != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}), httpserver.Config{})
	var g errgroup.Group
	var status int
	g.Go(func() error {
		var err error
		status, _, err = s.get("/")
		return err
	})
	<-entered
	s.cancel()
	close(proceed)
	err := g.Wait()
	if err != nil {
		t.Error(err)
	}
	if status != http.StatusOK {
		t.Errorf("got status %d, want 200", status)
	}
	s.stop()
	_, _, err = s.get("/")
	if err == nil {
		t.Error("got an answer after the stop, want an error")
	}
}

// After StopTimeout the context of a running request ends.
func TestStopCancelsRequests(t *testing.T) {
	entered := make(chan struct{})
	ended := make(chan struct{})
	s := startServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(ended)
	}), httpserver.Config{StopTimeout: 10 * time.Millisecond})
	var g errgroup.Group
	g.Go(func() error {
		_, _, err := s.get("/")
		return err
	})
	<-entered
	s.stop()
	<-ended
	_ = g.Wait() // the client gets an answer or an error
}

func TestListenNamesTheFlag(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, err = httpserver.Listen(t.Context(), "--admin", ln.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "--admin") {
		t.Errorf("got error %v, want one that names --admin", err)
	}
	for _, malformed := range []string{"localhost", "127.0.0.1:99999", "::1:80"} {
		_, err = httpserver.Listen(t.Context(), "--admin", malformed)
		var address *httpserver.AddressError
		if !errors.As(err, &address) || !strings.Contains(err.Error(), "--admin: must be HOST:PORT") {
			t.Errorf("%s: got error %v, want an AddressError", malformed, err)
		}
	}
}

func TestRecover(t *testing.T) {
	s := startServer(t, httpserver.Recover(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("secret")
		case "/after":
			_, _ = w.Write([]byte("half"))
			panic("secret")
		}
	}), quiet), httpserver.Config{})
	t.Run("before the answer", func(t *testing.T) {
		status, body, err := s.get("/before")
		if err != nil {
			t.Fatal(err)
		}
		if status != http.StatusInternalServerError || !strings.Contains(body, `"code":"internal"`) {
			t.Errorf("got %d %s, want 500 internal", status, body)
		}
		if strings.Contains(body, "secret") {
			t.Errorf("got %s, want an answer without the panic value", body)
		}
	})
	t.Run("in the answer", func(t *testing.T) {
		_, body, err := s.get("/after")
		if err == nil && body == "half" {
			t.Error("got a complete answer, want an error")
		}
	})
	t.Run("next request", func(t *testing.T) {
		status, _, err := s.get("/fine")
		if err != nil {
			t.Fatal(err)
		}
		if status != http.StatusOK {
			t.Errorf("got status %d, want 200", status)
		}
	})
}

func TestReadiness(t *testing.T) {
	failure := errors.New("unavailable")
	for name, c := range map[string]struct {
		database   error
		redis      error
		drain      bool
		wantCode   int
		wantStatus string
	}{
		"ready":     {wantCode: http.StatusOK, wantStatus: "ready"},
		"degraded":  {redis: failure, wantCode: http.StatusOK, wantStatus: "degraded"},
		"not ready": {database: failure, wantCode: http.StatusServiceUnavailable, wantStatus: "not_ready"},
		"both":      {database: failure, redis: failure, wantCode: http.StatusServiceUnavailable, wantStatus: "not_ready"},
		"draining":  {drain: true, wantCode: http.StatusServiceUnavailable, wantStatus: "draining"},
	} {
		t.Run(name, func(t *testing.T) {
			a := httpserver.NewAdmin(
				httpserver.Check{Name: "database", Ping: func(context.Context) error { return c.database }},
				httpserver.Check{Name: "redis", Ping: func(context.Context) error { return c.redis }, Degrades: true},
			)
			if c.drain {
				a.Drain()
			}
			rec := httptest.NewRecorder()
			a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if rec.Code != c.wantCode {
				t.Errorf("got status %d, want %d", rec.Code, c.wantCode)
			}
			var body struct {
				Status string
				Checks map[string]string
			}
			err := json.Unmarshal(rec.Body.Bytes(), &body)
			if err != nil {
				t.Fatal(err)
			}
			if body.Status != c.wantStatus {
				t.Errorf("got %q, want %q", body.Status, c.wantStatus)
			}
			if len(body.Checks) != 2 {
				t.Errorf("got checks %v, want 2", body.Checks)
			}
		})
	}
}

// A check that never returns does not keep /readyz from answering.
func TestReadinessWithASilentCheck(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	defer close(silent)
	a := httpserver.NewAdmin(
		httpserver.Check{Name: "database", Ping: func(context.Context) error { <-silent; return nil }},
		httpserver.Check{Name: "redis", Ping: func(context.Context) error { return nil }},
	)
	start := time.Now()
	status, checks := readReadiness(t, a)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("got the answer after %v, want it within a minute", took)
	}
	for checks["redis"] != "ok" { // a busy machine may delay the check until it counts as silent
		status, checks = readReadiness(t, a)
	}
	if status != http.StatusServiceUnavailable || checks["database"] == "ok" {
		t.Errorf("got status %d and checks %v, want 503 because of the database", status, checks)
	}
}

func TestAdminPaths(t *testing.T) {
	a := httpserver.NewAdmin()
	for path, want := range map[string]int{
		"/healthz": http.StatusOK,
		"/metrics": http.StatusOK,
		"/nothing": http.StatusNotFound,
	} {
		t.Run(path, func(t *testing.T) {
			rec := httptest.NewRecorder()
			a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
			if rec.Code != want {
				t.Errorf("got status %d, want %d", rec.Code, want)
			}
		})
	}
}
