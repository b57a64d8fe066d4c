package httpserver_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
)

// Profiles need a token with the scope admin, unless the request came over loopback.
func TestProfilesNeedAdmin(t *testing.T) {
	secret := []byte("a-secret-of-tests-with-more-than-32-bytes")
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(scope string) string {
		token, err := auth.Sign(secret, auth.Request{Subject: "operator", Scopes: []string{scope}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	admin := httpserver.NewAdmin()
	admin.AddProfiles(v)

	for name, c := range map[string]struct {
		local string
		host  string
		auth  string
		path  string
		want  int
	}{
		"loopback":                   {"127.0.0.1", "127.0.0.1:9080", "", "goroutine", http.StatusOK},
		"loopback, IPv6":             {"::1", "[::1]:9080", "", "goroutine", http.StatusOK},
		"loopback, name":             {"127.0.0.1", "localhost:9080", "", "", http.StatusOK},
		"loopback, rebound name":     {"127.0.0.1", "evil.example:9080", "", "goroutine", http.StatusUnauthorized},
		"private network":            {"10.0.0.1", "10.0.0.1:9080", "", "goroutine", http.StatusUnauthorized},
		"private network, Host":      {"10.0.0.1", "localhost", "", "goroutine", http.StatusUnauthorized},
		"private network, index":     {"10.0.0.1", "10.0.0.1:9080", "", "", http.StatusUnauthorized},
		"private network, other":     {"10.0.0.1", "10.0.0.1:9080", sign(auth.ScopeRead), "goroutine", http.StatusForbidden},
		"private network, admin":     {"10.0.0.1", "10.0.0.1:9080", sign(auth.ScopeAdmin), "goroutine", http.StatusOK},
		"command line":               {"127.0.0.1", "localhost", "", "cmdline", http.StatusNotFound},
		"command line, admin":        {"10.0.0.1", "10.0.0.1", sign(auth.ScopeAdmin), "cmdline", http.StatusNotFound},
		"command line with a slash":  {"127.0.0.1", "localhost", "", "cmdline/", http.StatusNotFound},
		"command line, double slash": {"127.0.0.1", "localhost", "", "/cmdline", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			local := &net.TCPAddr{IP: net.ParseIP(c.local), Port: 9080}
			ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, local)
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/debug/pprof/"+c.path, nil)
			r.Host = c.host
			if c.auth != "" {
				r.Header.Set("Authorization", c.auth)
			}
			w := httptest.NewRecorder()
			admin.ServeHTTP(w, r)
			isRedirect := w.Code >= 300 && w.Code < 400 // to a path of this table
			if w.Code != c.want && !isRedirect {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
		})
	}
}
