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

// Two secrets that nobody uses. The first is the example of the specification.
const (
	secret1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secret2 = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// fixture has event streams in Redis and a receiver.
type fixture struct {
	*exampletest.Streams
	t    *testing.T
	send sendCmd
	// intercept may answer a webhook before the receiver gets it. It reports whether it has
	// answered.
	intercept func(w http.ResponseWriter, id string, attempt int) bool

	mu       sync.Mutex // protects the fields below
	attempts map[string]int
	lines    strings.Builder
}

func newFixture(t *testing.T) *fixture {
	t.Parallel()
	f := &fixture{Streams: exampletest.NewStreams(t, "notifications"), t: t, attempts: map[string]int{}}
	signers, err := newSigners([]string{secret1})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{signers: signers, out: f}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		id := q.Header.Get("webhook-id")
		attempt := f.countAttempt(id)
		if f.intercept == nil || !f.intercept(w, id, attempt) {
			r.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	f.send = sendCmd{
		URL:        server.URL,
		Secrets:    []string{secret1},
		RedisURL:   f.URL,
		Namespace:  f.Keys.Namespace,
		Partitions: f.Keys.Partitions,
		Attempts:   3,
		FirstDelay: time.Millisecond,
	}
	return f
}

// Write collects the receiver's lines.
func (f *fixture) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines.Write(p)
}

func (f *fixture) countAttempt(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[id]++
	return f.attempts[id]
}

// attemptsOf returns the number of times that a webhook arrived.
func (f *fixture) attemptsOf(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts[id]
}

// printedText returns all lines that the receiver has printed.
func (f *fixture) printedText() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines.String()
}

// publishSettlements publishes events e<from> to e<to-1>.
func (f *fixture) publishSettlements(from, to int) {
	f.t.Helper()
	for i := from; i < to; i++ {
		f.Publish(bus.Event{
			ID:      fmt.Sprint("e", i),
			Type:    wallet.EventEscrowSettled,
			Account: fmt.Sprint("user:u", i%7),
			Data:    fmt.Appendf(nil, `{"eventId":"e%d","timestamp":"2026-11-24T00:00:00Z"}`, i),
		})
	}
}

// runDuring runs the sender while do runs.
func (f *fixture) runDuring(do func()) {
	f.t.Helper()
	if err := exampletest.RunDuring(f.t, f.send.Run, do); err != nil {
		f.t.Fatal(err)
	}
}

// wantLines checks that the text has one line for each of the events e0 to e<n-1>, and no other
// line.
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
			t.Errorf("got no line %s", line)
		}
	}
	if lines := strings.Count(text, "\n"); lines != n {
		t.Errorf("got %d lines, want %d:\n%s", lines, n, text)
	}
}

func (f *fixture) wantNoDeadLetters() {
	f.t.Helper()
	if letters := f.DeadLetters(); len(letters) > 0 {
		f.t.Errorf("got dead letters %+v, want none", letters)
	}
}

func TestRedeliveredEventIsPrintedOnce(t *testing.T) {
	f := newFixture(t)
	f.publishSettlements(0, 40)
	for range 2 {
		f.runDuring(func() {
			f.WaitAcknowledged()
			f.Redeliver()
			f.WaitAcknowledged()
		})
		f.Redeliver()
	}
	wantLines(t, f.printedText(), 40)
	if got := f.attemptsOf("e7"); got != 4 {
		t.Errorf("e7: got %d webhooks, want 4", got)
	}
}

func TestThirdAttemptSucceeds(t *testing.T) {
	f := newFixture(t)
	f.intercept = func(w http.ResponseWriter, _ string, attempt int) bool {
		switch attempt {
		case 1:
			panic(http.ErrAbortHandler) // breaks the connection
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	f.publishSettlements(0, 7)
	f.runDuring(f.WaitAcknowledged)
	wantLines(t, f.printedText(), 7)
	f.wantNoDeadLetters()
}

func TestDeadLettersCanBeReplayed(t *testing.T) {
	f := newFixture(t)
	f.intercept = func(w http.ResponseWriter, id string, attempt int) bool {
		switch {
		case id == "e1" && attempt <= 3:
			http.Error(w, "out of order", http.StatusInternalServerError)
		case id == "e2" && attempt == 1:
			http.Error(w, "not here any more", http.StatusGone)
		default:
			return false
		}
		return true
	}
	f.publishSettlements(0, 4)
	f.runDuring(func() {
		f.WaitAcknowledged()
		got := map[string]string{}
		for _, l := range f.DeadLetters() {
			got[l.Event.ID] = fmt.Sprintf("%d: %s", l.Attempts, l.Error)
		}
		want := map[string]string{
			"e1": `3: the receiver answered 500 Internal Server Error: "out of order\n"`,
			"e2": `1: the receiver answered 410 Gone: "not here any more\n"`,
		}
		if !maps.Equal(got, want) {
			t.Errorf("got dead letters %q, want %q", got, want)
		}

		n, err := consumer.OpenDeadLetters(f.Redis, f.Keys, "notifications").ReplayAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n != 2 {
			t.Fatalf("got %d replayed dead letters, want 2", n)
		}
		exampletest.WaitUntil(t, "the replayed events are printed", func() bool {
			return strings.Count(f.printedText(), "\n") == 4
		})
	})
	wantLines(t, f.printedText(), 4)
}

// The kill comes while the receiver handles a webhook.
func TestKilledSenderLosesNoEvent(t *testing.T) {
	f := newFixture(t)
	arrived := make(chan struct{})
	release := make(chan struct{})
	releaseOnce := sync.OnceFunc(func() { close(release) })
	defer releaseOnce()
	f.intercept = func(_ http.ResponseWriter, id string, attempt int) bool {
		if id == "e20" && attempt == 1 {
			close(arrived)
			<-release
		}
		return false
	}
	f.publishSettlements(0, 40)
	args := append([]string{"send", "--url", f.send.URL, "--secret", secret1, "--consumer", "sender-0"}, f.Args()...)
	p := exampletest.Start(t, args...)
	<-arrived
	p.Kill()
	releaseOnce() // the receiver prints the event, but the sender does not get the answer
	p = exampletest.Start(t, args...)
	f.WaitAcknowledged()
	p.Stop()
	wantLines(t, f.printedText(), 40)
	if got := f.attemptsOf("e20"); got != 2 {
		t.Errorf("e20: got %d webhooks, want 2", got)
	}
}

// The kill comes while the receiver prints events. The sender retries the webhooks without an
// answer.
func TestKilledReceiverLosesNoEvent(t *testing.T) {
	f := newFixture(t)
	address := testenv.FreeAddr(t)
	f.send.URL = "http://" + address
	f.send.Attempts = 100
	f.send.FirstDelay = 300 * time.Millisecond
	args := []string{"receive", "--listen", address, "--secret", secret1}
	printed := map[string]bool{}
	collect := func(p exampletest.Program) {
		for line := range strings.Lines(p.Output()) {
			if strings.HasSuffix(line, "\n") {
				printed[line] = true // some lines appear twice: a new receiver does not know the old ids
			}
		}
	}
	f.runDuring(func() {
		for n := 0; n < 15; n += 5 {
			f.publishSettlements(n, n+1)
			p := exampletest.Start(t, args...)
			exampletest.WaitUntil(t, "the receiver prints", func() bool { return strings.Contains(p.Output(), "\n") })
			f.publishSettlements(n+1, n+5) // the kill comes while the receiver prints some of these
			p.Kill()
			collect(p)
		}
		p := exampletest.Start(t, args...)
		f.WaitAcknowledged()
		p.Stop()
		collect(p)
	})
	wantLines(t, strings.Join(slices.Collect(maps.Keys(printed)), ""), 15)
	f.wantNoDeadLetters()
}
