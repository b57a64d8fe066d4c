package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/exampletest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// Two secrets that are not: the specification's example, and another.
const (
	secret1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secret2 = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// world is a Redis with events and a receiver, which something may stand before.
type world struct {
	*exampletest.Streams
	t      *testing.T
	send   sendCmd
	before func(w http.ResponseWriter, id string, attempt int) (taken bool)

	mu       sync.Mutex // protects the rest
	attempts map[string]int
	lines    strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{Streams: exampletest.NewStreams(t, "notifications"), t: t, attempts: map[string]int{}}
	signers, err := signers([]string{secret1})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{signers: signers, out: w}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
		id := q.Header.Get("webhook-id")
		w.mu.Lock()
		w.attempts[id]++
		attempt := w.attempts[id]
		w.mu.Unlock()
		if w.before == nil || !w.before(out, id, attempt) {
			r.ServeHTTP(out, q)
		}
	}))
	t.Cleanup(server.Close)
	w.send = sendCmd{
		URL: server.URL, Secrets: []string{secret1}, RedisURL: w.URL, Namespace: w.Keys.Namespace, Partitions: w.Keys.Partitions,
		Attempts: 3, FirstDelay: time.Millisecond,
	}
	return w
}

// Write takes the receiver's lines.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.Write(p)
}

// publish publishes the settlements from to to-1: e0, e1 …
func (w *world) publish(from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		w.Publish(bus.Event{
			ID: fmt.Sprint("e", i), Type: wallet.EventEscrowSettled, Account: fmt.Sprint("user:u", i%7),
			Data: fmt.Appendf(nil, `{"eventId":"e%d","timestamp":"2026-11-24T00:00:00Z"}`, i),
		})
	}
}

// while runs the sender while f does something.
func (w *world) while(f func()) {
	w.t.Helper()
	if err := exampletest.While(w.t, w.send.Run, f); err != nil {
		w.t.Fatal(err)
	}
}

// sent tells how often a webhook came.
func (w *world) sent(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.attempts[id]
}

// wantLines wants one line for each of the events e0 to e(n-1).
func (w *world) wantLines(n int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	wantLines(w.t, w.lines.String(), n)
}

func wantLines(t *testing.T, text string, n int) {
	t.Helper()
	got := map[string]bool{}
	for line := range strings.Lines(text) {
		got[line] = true
	}
	for i := range n {
		line := fmt.Sprintf(`{"id":"e%d","type":"wallet.escrow_settled","timestamp":"2026-11-24T00:00:00Z",`+
			`"data":{"eventId":"e%[1]d","timestamp":"2026-11-24T00:00:00Z"}}`+"\n", i)
		if !got[line] {
			t.Errorf("no line %s", line)
		}
	}
	if lines := strings.Count(text, "\n"); lines != n {
		t.Errorf("%d lines, want %d:\n%s", lines, n, text)
	}
}

func TestRedelivery(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 40)
	for range 2 {
		w.while(func() {
			w.Settled()
			w.Redeliver()
			w.Settled()
		})
		w.Redeliver()
	}
	w.wantLines(40)
	if n := w.sent("e7"); n != 4 {
		t.Errorf("e7 was sent %d times, want 4", n)
	}
}

func TestWorksTheThirdTime(t *testing.T) {
	w := newWorld(t)
	w.before = func(out http.ResponseWriter, _ string, attempt int) bool {
		if attempt == 1 {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		if attempt == 2 {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
		return attempt < 3
	}
	w.publish(0, 7)
	w.while(w.Settled)
	w.wantLines(7)
	if letters := w.DeadLetters(); len(letters) > 0 {
		t.Errorf("dead letters %+v", letters)
	}
}

func TestDeadLetterAndReplay(t *testing.T) {
	w := newWorld(t)
	w.before = func(out http.ResponseWriter, id string, attempt int) bool {
		switch {
		case id == "e1" && attempt <= 3:
			http.Error(out, "out of order", http.StatusInternalServerError)
		case id == "e2" && attempt == 1:
			http.Error(out, "gone for good", http.StatusGone)
		default:
			return false
		}
		return true
	}
	w.publish(0, 4)
	w.while(func() {
		w.Settled()
		for _, l := range w.DeadLetters() {
			want := map[string]string{
				"e1": `3: the receiver answered 500 Internal Server Error: "out of order\n"`,
				"e2": `1: the receiver answered 410 Gone: "gone for good\n"`,
			}[l.Event.ID]
			if got := fmt.Sprintf("%d: %s", l.Attempts, l.Error); got != want {
				t.Errorf("%s is a dead letter with %s, want %s", l.Event.ID, got, want)
			}
		}
		n, err := consumer.OpenDeadLetters(w.Redis, w.Keys, "notifications").ReplayAll(t.Context())
		if n != 2 || err != nil {
			t.Fatal("replayed ", n, err)
		}
		exampletest.Until(t, "the replayed ones came", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return strings.Count(w.lines.String(), "\n") == 4
		})
	})
	w.wantLines(4)
}

// TestSenderKilled kills the sender while the receiver has a webhook in hand.
func TestSenderKilled(t *testing.T) {
	w := newWorld(t)
	held, release := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	w.before = func(_ http.ResponseWriter, id string, attempt int) bool {
		if id == "e20" && attempt == 1 {
			close(held)
			<-release
		}
		return false
	}
	w.publish(0, 40)
	args := append([]string{"send", "--url", w.send.URL, "--secret", secret1, "--consumer", "sender-0"}, w.Args()...)
	p := exampletest.Start(t, args...)
	<-held
	p.Kill()
	letGo() // the receiver takes it though the sender will never know
	p = exampletest.Start(t, args...)
	w.Settled()
	p.Stop()
	w.wantLines(40)
	if n := w.sent("e20"); n != 2 {
		t.Errorf("e20 was sent %d times, want 2", n)
	}
}

// TestReceiverKilled kills the receiver while it takes webhooks, and wants all events to be printed: those that it had not
// answered come again.
func TestReceiverKilled(t *testing.T) {
	w := newWorld(t)
	address := testenv.FreeAddr(t)
	w.send.URL, w.send.Attempts, w.send.FirstDelay = "http://"+address, 100, 300*time.Millisecond
	args := []string{"receive", "--listen", address, "--secret", secret1}
	printed := map[string]bool{}
	keep := func(p exampletest.Program) {
		for line := range strings.Lines(p.Output()) {
			if strings.HasSuffix(line, "\n") {
				printed[line] = true // some come twice: what it remembered died with it
			}
		}
	}
	w.while(func() {
		for n := 0; n < 15; n += 5 {
			w.publish(n, n+1)
			p := exampletest.Start(t, args...)
			exampletest.Until(t, "it prints", func() bool { return strings.Contains(p.Output(), "\n") })
			w.publish(n+1, n+5) // it is killed while it takes some of these
			p.Kill()
			keep(p)
		}
		p := exampletest.Start(t, args...)
		w.Settled()
		p.Stop()
		keep(p)
	})
	wantLines(t, strings.Join(slices.Collect(maps.Keys(printed)), ""), 15)
	if letters := w.DeadLetters(); len(letters) > 0 {
		t.Errorf("dead letters %+v", letters)
	}
}
