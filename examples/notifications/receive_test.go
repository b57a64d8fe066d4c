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

// signed is the signature after the specification's words, made without the library that the program uses.
func signed(t *testing.T, secret, id string, at time.Time, body string) string {
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

// webhook is a request as a sender would send it.
func webhook(id string, at time.Time, signature, body string) *http.Request {
	q := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	q.Header.Set("webhook-id", id)
	q.Header.Set("webhook-timestamp", fmt.Sprint(at.Unix()))
	q.Header.Set("webhook-signature", signature)
	return q
}

func newReceiver(t *testing.T, out io.Writer, secrets ...string) *receiver {
	t.Helper()
	signers, err := signers(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return &receiver{signers: signers, out: out}
}

func take(r http.Handler, q *http.Request) int {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, q)
	return w.Code
}

func TestReceiverBelievesOnlySigned(t *testing.T) {
	now := time.Now()
	good := signed(t, secret1, "e", now, body)
	wrong := signed(t, secret2, "e", now, body)
	long := `{"type":"` + strings.Repeat("x", maxBody) + `"}`
	for name, c := range map[string]struct {
		request *http.Request
		want    int
	}{
		"right":              {webhook("e", now, good, body), 204},
		"one of several":     {webhook("e", now, strings.Join([]string{"v1a,x", wrong, good}, " "), body), 204},
		"four minutes old":   {webhook("e", now.Add(-4*time.Minute), signed(t, secret1, "e", now.Add(-4*time.Minute), body), body), 204},
		"six minutes old":    {webhook("e", now.Add(-6*time.Minute), signed(t, secret1, "e", now.Add(-6*time.Minute), body), body), 401},
		"six minutes ahead":  {webhook("e", now.Add(6*time.Minute), signed(t, secret1, "e", now.Add(6*time.Minute), body), body), 401},
		"another secret":     {webhook("e", now, wrong, body), 401},
		"another id":         {webhook("f", now, good, body), 401},
		"another time":       {webhook("e", now.Add(time.Second), good, body), 401},
		"another body":       {webhook("e", now, good, strings.Replace(body, "1}", "2}", 1)), 401},
		"cut short":          {webhook("e", now, good[:len(good)-4], body), 401},
		"another version":    {webhook("e", now, strings.Replace(good, "v1", "v2", 1), body), 401},
		"no signature":       {webhook("e", now, "", body), 401},
		"no id":              {webhook("", now, signed(t, secret1, "", now, body), body), 401},
		"signed but no JSON": {webhook("e", now, signed(t, secret1, "e", now, "x"), "x"), 400},
		"too long":           {webhook("e", now, signed(t, secret1, "e", now, long), long), 413},
		"a time that is none": {func() *http.Request {
			q := webhook("e", now, good, body)
			q.Header.Set("webhook-timestamp", "now")
			return q
		}(), 401},
		"not POST": {httptest.NewRequest(http.MethodGet, "/", http.NoBody), 405},
	} {
		var out bytes.Buffer
		got := take(newReceiver(t, &out, secret1), c.request)
		if got != c.want || (out.Len() > 0) != (c.want == 204) {
			t.Errorf("%s: %d, want %d; printed %q", name, got, c.want, out.String())
		}
	}
}

func TestReceiverPrintsAnEventOnce(t *testing.T) {
	var out bytes.Buffer
	r := newReceiver(t, &out, secret1)
	for i := range maxSeen + 1 {
		if i > 1 && i < maxSeen {
			_ = r.take(fmt.Sprint(i), notice{}) // as many as it remembers; ServeHTTP would take longer
			continue
		}
		for range 2 {
			id := fmt.Sprint(i)
			if got := take(r, webhook(id, time.Now(), signed(t, secret1, id, time.Now(), body), body)); got != 204 {
				t.Fatal(i, got)
			}
		}
	}
	if n := strings.Count(out.String(), "\n"); n != maxSeen+1 || len(r.seen) != maxSeen {
		t.Errorf("%d lines, %d ids; want %d, %d", n, len(r.seen), maxSeen+1, maxSeen)
	}
	want := `{"id":"0","type":"t","timestamp":"2026-11-24T00:00:00Z","data":{"n":1}}` + "\n"
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("the first line is %.100q, want %q", out.String(), want)
	}
}

// TestReceiverThatCannotKeepAnEvent wants it to be told, and the next attempt to count.
func TestReceiverThatCannotKeepAnEvent(t *testing.T) {
	var out full
	r := newReceiver(t, &out, secret1)
	for i, want := range []int{500, 204, 204} {
		now := time.Now()
		if got := take(r, webhook("e", now, signed(t, secret1, "e", now, body), body)); got != want {
			t.Errorf("attempt %d: %d, want %d", i+1, got, want)
		}
	}
	if out.writes != 2 {
		t.Errorf("%d writes, want 2", out.writes)
	}
}

// full is a disk that is full the first time.
type full struct{ writes int }

func (f *full) Write(p []byte) (int, error) {
	if f.writes++; f.writes == 1 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

// TestRotation changes the secret as the program's documentation says.
func TestRotation(t *testing.T) {
	for _, step := range []struct {
		sender, receiver []string
		want             int
	}{
		{[]string{secret1}, []string{secret1}, 204},
		{[]string{secret1}, []string{secret1, secret2}, 204},
		{[]string{secret1, secret2}, []string{secret1, secret2}, 204},
		{[]string{secret1, secret2}, []string{secret2}, 204},
		{[]string{secret2}, []string{secret2}, 204},
		{[]string{secret1}, []string{secret2}, 401},
	} {
		server := httptest.NewServer(newReceiver(t, io.Discard, step.receiver...))
		s, err := newSender(server.URL, step.sender)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Handle(t.Context(), &bus.Event{ID: "e", Type: "t", Data: []byte("{}")})
		if (err == nil) != (step.want == 204) {
			t.Errorf("%d secrets to %d: %v", len(step.sender), len(step.receiver), err)
		}
		s.client.CloseIdleConnections()
		server.Close()
	}
}

func TestBadFlags(t *testing.T) {
	for _, secret := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_short", "whsec_!", secret1 + "x"} {
		if _, err := newSender("http://localhost/", []string{secret}); err == nil || len(secret) > 7 && strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("secret %q: %v", secret, err)
		}
	}
	for _, url := range []string{"", "localhost:80", "ftp://localhost/", "http://", "http://%"} {
		if _, err := newSender(url, []string{secret1}); err == nil {
			t.Errorf("url %q: no error", url)
		}
	}
}
