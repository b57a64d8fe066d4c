package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/membus"
)

// Outcomes of a webhook.
const (
	sent     = "sent"
	retried  = "retried"
	rejected = "rejected" // a dead letter after one attempt
)

func TestStatusDecidesWhetherTheBusRetries(t *testing.T) {
	for status, want := range map[int]string{
		200: sent,
		204: sent,
		301: rejected,
		302: rejected,
		307: rejected,
		400: rejected,
		401: rejected,
		404: rejected,
		408: retried,
		410: rejected,
		425: retried,
		429: retried,
		500: retried,
		503: retried,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			redirected := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the sender followed a redirect")
			}))
			defer redirected.Close()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", redirected.URL)
				w.WriteHeader(status)
			}))
			defer server.Close()
			if got := sendOne(t, server.URL, 15*time.Second); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestReceiverThatNeverAnswersIsRetried(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if got := sendOne(t, "http://"+silent.Addr().String(), 50*time.Millisecond); got != retried {
		t.Errorf("got %s, want %s", got, retried)
	}
}

func TestReceiverThatIsDownIsRetried(t *testing.T) {
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	if got := sendOne(t, "http://"+closed.Addr().String(), 15*time.Second); got != retried {
		t.Errorf("got %s, want %s", got, retried)
	}
}

func TestAnswerWithoutEndDoesNotBlockTheSender(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if got := sendOne(t, endless.URL, 15*time.Second); got != sent {
		t.Errorf("got %s, want %s", got, sent)
	}
}

// sendOne sends one webhook to url over a bus with two attempts, and returns its outcome.
func sendOne(t *testing.T, url string, timeout time.Duration) string {
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
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) == 0 {
		return sent
	}
	if letters[0].Attempts == 1 {
		return rejected
	}
	return retried
}
