package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// sign makes a signature as the specification says. It does not use the library of the program.
func sign(t *testing.T, secret, id string, at time.Time, body string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

const body = `{"type":"t","timestamp":"2026-11-24T00:00:00Z","data":{"n":1}}`

// newWebhook returns the request that a sender would send.
func newWebhook(id string, at time.Time, signature, body string) *http.Request {
	q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	q.Header.Set("webhook-id", id)
	q.Header.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
	q.Header.Set("webhook-signature", signature)
	return q
}

func newReceiver(t *testing.T, out io.Writer, secrets ...string) *receiver {
	t.Helper()
	signers, err := newSigners(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return &receiver{signers: signers, out: out}
}

// receive returns the status of the answer.
func receive(r http.Handler, q *http.Request) int {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, q)
	return w.Code
}

func TestReceiverAcceptsOnlyValidSignatures(t *testing.T) {
	now := time.Now()
	old := now.Add(-6 * time.Minute)
	recent := now.Add(-4 * time.Minute)
	future := now.Add(6 * time.Minute)
	good := sign(t, secret1, "e", now, body)
	wrong := sign(t, secret2, "e", now, body)
	long := `{"type":"` + strings.Repeat("x", maxBody) + `"}`
	badTimestamp := newWebhook("e", now, good, body)
	badTimestamp.Header.Set("webhook-timestamp", "now")
	for _, tt := range []struct {
		name    string
		request *http.Request
		want    int
	}{
		{"valid", newWebhook("e", now, good, body), 204},
		{"one of several signatures", newWebhook("e", now, strings.Join([]string{"v1a,x", wrong, good}, " "), body), 204},
		{"four minutes old", newWebhook("e", recent, sign(t, secret1, "e", recent, body), body), 204},
		{"six minutes old", newWebhook("e", old, sign(t, secret1, "e", old, body), body), 401},
		{"six minutes in the future", newWebhook("e", future, sign(t, secret1, "e", future, body), body), 401},
		{"another secret", newWebhook("e", now, wrong, body), 401},
		{"another id", newWebhook("f", now, good, body), 401},
		{"another timestamp", newWebhook("e", now.Add(time.Second), good, body), 401},
		{"another body", newWebhook("e", now, good, strings.Replace(body, "1}", "2}", 1)), 401},
		{"signature cut short", newWebhook("e", now, good[:len(good)-4], body), 401},
		{"another version", newWebhook("e", now, strings.Replace(good, "v1", "v2", 1), body), 401},
		{"no signature", newWebhook("e", now, "", body), 401},
		{"no id", newWebhook("", now, sign(t, secret1, "", now, body), body), 401},
		{"signed but not JSON", newWebhook("e", now, sign(t, secret1, "e", now, "x"), "x"), 400},
		{"too long", newWebhook("e", now, sign(t, secret1, "e", now, long), long), 413},
		{"timestamp is not a number", badTimestamp, 401},
		{"not POST", httptest.NewRequest(http.MethodGet, "/", http.NoBody), 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if got := receive(newReceiver(t, &out, secret1), tt.request); got != tt.want {
				t.Errorf("got status %d, want %d", got, tt.want)
			}
			printed := out.Len() > 0
			if accepted := tt.want == 204; printed != accepted {
				t.Errorf("got printed = %t, want %t: %q", printed, accepted, out.String())
			}
		})
	}
}

func TestReceiverPrintsAnEventOnce(t *testing.T) {
	var out bytes.Buffer
	r := newReceiver(t, &out, secret1)
	for i := range maxIDs + 1 {
		id := fmt.Sprint(i)
		if i > 1 && i < maxIDs {
			_ = r.printOnce(id, payload{}) // fills the memory; ServeHTTP would take longer
			continue
		}
		for range 2 {
			if got := receive(r, newWebhook(id, time.Now(), sign(t, secret1, id, time.Now(), body), body)); got != 204 {
				t.Fatalf("event %s: got status %d, want 204", id, got)
			}
		}
	}
	if got := strings.Count(out.String(), "\n"); got != maxIDs+1 {
		t.Errorf("got %d lines, want %d", got, maxIDs+1)
	}
	if got := len(r.seen); got != maxIDs {
		t.Errorf("got %d remembered ids, want %d", got, maxIDs)
	}
	want := `{"id":"0","type":"t","timestamp":"2026-11-24T00:00:00Z","data":{"n":1}}` + "\n"
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("got first line %.100q, want %q", out.String(), want)
	}
}

func TestEventThatCannotBePrintedIsAcceptedAtTheNextAttempt(t *testing.T) {
	var out failingWriter
	r := newReceiver(t, &out, secret1)
	for i, want := range []int{500, 204, 204} {
		now := time.Now()
		if got := receive(r, newWebhook("e", now, sign(t, secret1, "e", now, body), body)); got != want {
			t.Errorf("attempt %d: got status %d, want %d", i+1, got, want)
		}
	}
	if out.writes != 2 {
		t.Errorf("got %d writes, want 2", out.writes)
	}
}

// failingWriter fails at the first write.
type failingWriter struct{ writes int }

func (f *failingWriter) Write(p []byte) (int, error) {
	f.writes++
	if f.writes == 1 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

// The steps are those of the program's documentation.
func TestSecretRotation(t *testing.T) {
	for _, tt := range []struct {
		name     string
		sender   []string
		receiver []string
		accepted bool
	}{
		{"before", []string{secret1}, []string{secret1}, true},
		{"receiver has both", []string{secret1}, []string{secret1, secret2}, true},
		{"sender has both", []string{secret1, secret2}, []string{secret1, secret2}, true},
		{"receiver has the new one", []string{secret1, secret2}, []string{secret2}, true},
		{"sender has the new one", []string{secret2}, []string{secret2}, true},
		{"different secrets", []string{secret1}, []string{secret2}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(newReceiver(t, io.Discard, tt.receiver...))
			defer server.Close()
			s, err := newSender(server.URL, tt.sender)
			if err != nil {
				t.Fatal(err)
			}
			defer s.client.CloseIdleConnections()
			err = s.Handle(t.Context(), &bus.Event{ID: "e", Type: "t", Data: []byte("{}")})
			if accepted := err == nil; accepted != tt.accepted {
				t.Errorf("got error %v, want accepted = %t", err, tt.accepted)
			}
		})
	}
}

func TestBadSecretIsRefusedWithoutPrintingIt(t *testing.T) {
	for _, secret := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_short", "whsec_!", secret1 + "x"} {
		t.Run(secret, func(t *testing.T) {
			_, err := newSender("http://localhost/", []string{secret})
			if err == nil {
				t.Fatal("got no error, want one")
			}
			if len(secret) > 7 && strings.Contains(err.Error(), secret[6:]) {
				t.Errorf("got error %q, want one without the secret", err)
			}
		})
	}
}

func TestBadURLIsRefused(t *testing.T) {
	for _, url := range []string{"", "localhost:80", "ftp://localhost/", "http://", "http://%"} {
		t.Run(url, func(t *testing.T) {
			if _, err := newSender(url, []string{secret1}); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}
