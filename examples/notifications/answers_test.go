package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
)

// TestAnswers says which answers are final.
func TestAnswers(t *testing.T) {
	for status, want := range map[int]string{
		200: "sent", 204: "sent", 408: "again", 425: "again", 429: "again", 500: "again", 503: "again",
		301: "final", 302: "final", 307: "final", 400: "final", 401: "final", 404: "final", 410: "final",
	} {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		}))
		if got := attempt(t, server.URL, 15*time.Second); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
		server.Close()
		elsewhere.Close()
	}
}

// TestBadReceivers wants neither a receiver that never answers nor one that never ends to hold the sender up.
func TestBadReceivers(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := attempt(t, "http://"+silent.Addr().String(), 50*time.Millisecond); got != "again" {
		t.Errorf("no answer: %s", got)
	}
	_ = silent.Close()
	if got := attempt(t, "http://"+silent.Addr().String(), 15*time.Second); got != "again" {
		t.Errorf("nobody listens: %s", got)
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if got := attempt(t, endless.URL, 15*time.Second); got != "sent" {
		t.Errorf("an answer without end: %s", got)
	}
}

// attempt has a bus send a webhook to url and tells what came of it.
func attempt(t *testing.T, url string, timeout time.Duration) string {
	t.Helper()
	s, err := newSender(url, []string{secret1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.CloseIdleConnections()
	s.client.Timeout = timeout
	b := membus.New(bus.Config{Synchronous: true, Attempts: 2, FirstDelay: 1, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = b.Close(t.Context()) }()
	if _, err := b.Subscribe(bus.Subscription{ID: "webhook", Handler: s}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Event{Type: "t", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	letters, err := b.DeadLetters().List(t.Context(), "", 10)
	switch {
	case err != nil:
		t.Fatal(err)
	case len(letters) == 0:
		return "sent"
	case letters[0].Attempts == 1:
		return "final"
	}
	return "again"
}
