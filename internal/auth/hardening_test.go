package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
)

func TestWeakSecretsAreRefused(t *testing.T) {
	for _, weak := range []string{strings.Repeat("x", 32), strings.Repeat("0", 64), strings.Repeat("ab", 20), strings.Repeat("1234", 10)} {
		_, err := auth.NewVerifier(auth.Config{HS256Secret: []byte(weak)})
		if err == nil || strings.Contains(err.Error(), weak) {
			t.Errorf("%q: got error %v, want a refusal without the secret", weak, err)
		}
		_, err = auth.Sign([]byte(weak), auth.Request{Subject: "a", TTL: time.Hour})
		if err == nil {
			t.Errorf("%q: Sign accepts it", weak)
		}
	}
}

// A redirect of the JWKS URL to http is not followed, because the keys could be anybody's.
func TestInsecureRedirectsOfKeys(t *testing.T) {
	var insecure atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { insecure.Add(1) }))
	defer plain.Close()
	var secure atomic.Int64
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		secure.Add(1)
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}))
	defer target.Close()
	location := plain.URL
	source := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, location, http.StatusFound)
	}))
	defer source.Close()

	fetch := func() {
		v, err := auth.NewVerifier(auth.Config{JWKSURL: source.URL, HTTPClient: source.Client()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), "eyJhbGciOiJSUzI1NiJ9.e30.AAAA")
		if err == nil {
			t.Error("a forged token was accepted")
		}
	}
	fetch()
	if insecure.Load() != 0 {
		t.Error("a redirect to http was followed")
	}
	location = target.URL
	fetch()
	if secure.Load() != 1 {
		t.Errorf("got %d requests after a redirect to https, want 1", secure.Load())
	}
}
