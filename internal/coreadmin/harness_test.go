package coreadmin_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreadmin"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/openapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("a-secret-of-tests-with-more-than-32-bytes")

var quiet = slog.New(slog.DiscardHandler)

// object is a JSON object.
type object = map[string]any

// harness is the admin API on a listener, over HTTP.
type harness struct {
	*testing.T
	url    string
	token  string // has the scope admin
	client *http.Client
}

// described is the OpenAPI document. The harness compares each answer with it.
var described = sync.OnceValue(func() *openapitest.Document { return openapitest.MustParse(coreadmin.OpenAPI) })

// runCase runs a subtest with a copy of the harness.
func (h *harness) runCase(name string, test func(h *harness)) {
	h.Helper()
	h.Run(name, func(t *testing.T) {
		sub := *h
		sub.T = t
		test(&sub)
	})
}

// serveAdmin serves the admin API. deadline limits reading and answering a request.
func serveAdmin(t *testing.T, cfg coreadmin.Config, deadline time.Duration) *harness {
	t.Helper()
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Verifier = verifier
	cfg.Logger = quiet
	listener := httpserver.NewAdmin()
	coreadmin.New(cfg).Register(listener)
	server := httptest.NewUnstartedServer(httpserver.Recover(listener, quiet))
	server.Config.ReadTimeout = deadline
	server.Config.WriteTimeout = deadline
	server.Start()
	t.Cleanup(server.Close)
	return &harness{
		T:      t,
		url:    server.URL,
		token:  signToken(t, auth.ScopeAdmin),
		client: openapitest.NewClient(t, described()),
	}
}

func signToken(t *testing.T, scopes ...string) string {
	t.Helper()
	token, err := auth.Sign(secret, auth.Request{Subject: "operator", Scopes: scopes, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

type answer struct {
	status int
	header http.Header
	raw    string
	json   object
}

// request sends a request with the harness's token.
func (h *harness) request(method, path, body string) answer {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	return h.send(req)
}

func (h *harness) send(req *http.Request) answer {
	h.Helper()
	resp, err := h.client.Do(req)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	err = json.Unmarshal(raw, &a.json)
	if err != nil {
		h.Fatalf("%s %s: answer %q: %v", req.Method, req.URL, raw, err)
	}
	return a
}

// expectOK sends a request, requires the status 200 and returns the answer.
func (h *harness) expectOK(method, path, body string) answer {
	h.Helper()
	a := h.request(method, path, body)
	if a.status != http.StatusOK {
		h.Errorf("%s %s: got %d %s, want 200", method, path, a.status, a.raw)
	}
	return a
}

// expectProblem sends a request, requires a problem and returns it.
func (h *harness) expectProblem(status int, code, method, path, body string) answer {
	h.Helper()
	a := h.request(method, path, body)
	if a.status != status || a.json["code"] != code {
		h.Errorf("%s %s %s: got %d %s, want %d %s", method, path, body, a.status, a.raw, status, code)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		h.Errorf("%s %s: got content type %q, want application/problem+json", method, path, got)
	}
	return a
}

// expectFields requires that an object has these members.
func (h *harness) expectFields(got, want object) {
	h.Helper()
	for name, value := range want {
		if got[name] != value {
			h.Errorf("%s: got %v, want %v", name, got[name], value)
		}
	}
}
