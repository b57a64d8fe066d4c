package httpserver_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// stuckDatabase is a database whose pings return when the test says so.
type stuckDatabase struct {
	pings   atomic.Int64
	answers chan error
}

func (d *stuckDatabase) ping(context.Context) error {
	d.pings.Add(1)
	return <-d.answers
}

// readReadiness requests /readyz and returns the status and the result of each check.
func readReadiness(t *testing.T, a *httpserver.Admin) (status int, checks map[string]string) {
	t.Helper()
	rec := httptest.NewRecorder()
	a.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	var body struct{ Checks map[string]string }
	err := json.Unmarshal(rec.Body.Bytes(), &body)
	if err != nil {
		t.Error(err)
	}
	return rec.Code, body.Checks
}

// TestSilentCheckRunsOnce requests /readyz again and again while a check does not return.
func TestSilentCheckRunsOnce(t *testing.T) {
	t.Parallel()
	database := &stuckDatabase{answers: make(chan error, 1)}
	a := httpserver.NewAdmin(httpserver.Check{Name: "database", Ping: database.ping})
	database.answers <- nil
	readReadiness(t, a)
	for range 5 {
		status, checks := readReadiness(t, a)
		if status != http.StatusServiceUnavailable {
			t.Errorf("got status %d, want 503", status)
		}
		result := checks["database"]
		if !strings.Contains(result, "silent for") || !strings.HasSuffix(result, "s ago: ok") {
			t.Errorf("got %q, want the time of silence and the last result with its age", result)
		}
	}
	if got := database.pings.Load(); got != 2 {
		t.Errorf("got %d pings, want 2: one that answered and one that runs", got)
	}

	// The silent ping returns, and later requests have new ones.
	close(database.answers)
	status, checks := readReadiness(t, a)
	for status != http.StatusOK || database.pings.Load() < 3 {
		status, checks = readReadiness(t, a)
	}
	if result := checks["database"]; result != "ok" {
		t.Errorf("after the silence: got %q, want ok", result)
	}
}

// TestRequestsShareACheck requests /readyz several times at once.
func TestRequestsShareACheck(t *testing.T) {
	t.Parallel()
	database := &stuckDatabase{answers: make(chan error)}
	a := httpserver.NewAdmin(httpserver.Check{Name: "database", Ping: database.ping})
	const requests = 10
	statuses := make(chan int, requests)
	for range requests {
		go func() {
			status, _ := readReadiness(t, a)
			statuses <- status
		}()
	}
	for range requests {
		if got := <-statuses; got != http.StatusServiceUnavailable {
			t.Errorf("got status %d, want 503", got)
		}
	}
	if got := database.pings.Load(); got != 1 {
		t.Errorf("got %d pings, want 1", got)
	}
	database.answers <- nil
}

// TestFirstCheckIsSilent has a check that has never returned.
func TestFirstCheckIsSilent(t *testing.T) {
	t.Parallel()
	database := &stuckDatabase{answers: make(chan error)}
	a := httpserver.NewAdmin(httpserver.Check{Name: "database", Ping: database.ping})
	_, checks := readReadiness(t, a)
	result := checks["database"]
	if !strings.HasSuffix(result, "it has not answered before") {
		t.Errorf("got %q, want that the check has never answered", result)
	}
	database.answers <- nil
}
