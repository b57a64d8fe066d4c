package coreapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/openapitest"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("a-secret-of-tests-with-more-than-32-bytes")

const allScopes = "wallet:credit wallet:debit wallet:hold wallet:settle wallet:read"

// harness is the API in front of a real ledger, over HTTP.
type harness struct {
	*testing.T
	url    string
	ledger *wallet.Ledger
	token  string // has all scopes
	client *http.Client
}

// described is the OpenAPI document. The harness compares each answer with it.
var described = sync.OnceValue(parseDocument)

func parseDocument() *openapitest.Document {
	return openapitest.MustParse(coreapi.New(nil, nil, coreapi.Config{}).OpenAPI)
}

// onEachDatabase runs the test on Postgres and on SQLite.
func onEachDatabase(t *testing.T, test func(h *harness)) {
	t.Helper()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
		test(serveAPI(t, l, l))
	})
}

// runCase runs a subtest with a copy of the harness.
func (h *harness) runCase(name string, test func(h *harness)) {
	h.Helper()
	h.Run(name, func(t *testing.T) {
		sub := *h
		sub.T = t
		test(&sub)
	})
}

// serveAPI serves the API in front of api. l is the real ledger behind it.
func serveAPI(t *testing.T, l *wallet.Ledger, api coreapi.Ledger) *harness {
	t.Helper()
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(coreapi.New(api, v, coreapi.Config{
		Timeout:        2 * time.Minute, // the machines of tests are often slow
		AllowedOrigins: []string{"https://*.example.com"},
		Logger:         slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(srv.Close)
	return newHarness(t, srv.URL, l, described())
}

// newHarness returns a harness of the server at a URL, which document describes.
func newHarness(t *testing.T, url string, l *wallet.Ledger, document *openapitest.Document) *harness {
	t.Helper()
	return &harness{
		T:      t,
		url:    url,
		ledger: l,
		token:  signToken(t, "service", nil, allScopes),
		client: openapitest.NewClient(t, document),
	}
}

func signToken(t testing.TB, sub string, accounts []string, scope string) string {
	t.Helper()
	raw, err := auth.Sign(secret, auth.Request{
		Subject:  sub,
		Accounts: accounts,
		Scopes:   strings.Fields(scope),
		TTL:      time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// request is one call. An empty field has a valid default.
type request struct {
	method  string // default: POST with a body, GET without one
	path    string
	token   string // "-": none
	key     string // "-": none; default: a new one
	body    any    // a string is sent unchanged
	header  map[string]string
	chunked bool // sends the body without a Content-Length
}

type answer struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

// send sends a request and returns the answer.
func (h *harness) send(r request) answer {
	h.Helper()
	req := h.newRequest(r)
	resp, err := h.client.Do(req)
	if err != nil {
		h.Fatalf("%s %s: %v", req.Method, r.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatalf("%s %s: %v", req.Method, r.path, err)
	}

	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if bytes.HasPrefix(raw, []byte("{")) {
		err := json.Unmarshal(raw, &a.json)
		if err != nil {
			h.Fatalf("%s %s: answer %q: %v", req.Method, r.path, raw, err)
		}
	}
	return a
}

func (h *harness) newRequest(r request) *http.Request {
	h.Helper()
	body := h.encodeBody(r)
	method := r.method
	if method == "" {
		method = http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(h.Context(), method, h.url+r.path, body)
	if err != nil {
		h.Fatal(err)
	}

	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "-" && method == http.MethodPost {
		key := r.key
		if key == "" {
			key = uuid.NewString()
		}
		req.Header.Set("Idempotency-Key", key)
	}
	switch r.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+h.token)
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return req
}

func (h *harness) encodeBody(r request) io.Reader {
	h.Helper()
	if r.body == nil {
		return nil
	}
	text, ok := r.body.(string)
	if !ok {
		raw, err := json.Marshal(r.body)
		if err != nil {
			h.Fatal(err)
		}
		text = string(raw)
	}
	if r.chunked {
		return io.MultiReader(strings.NewReader(text)) // hides the length
	}
	return strings.NewReader(text)
}

// expect sends a request, requires the status and returns the answer.
func (h *harness) expect(status int, r request) answer {
	h.Helper()
	a := h.send(r)
	if a.status != status {
		h.Fatalf("%s %s: got %d %s, want %d", r.method, r.path, a.status, a.raw, status)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		h.Errorf("%s: got content type %q, want application/json", r.path, got)
	}
	return a
}

// expectProblem sends a request, requires a problem and returns it.
func (h *harness) expectProblem(status int, code string, r request) answer {
	h.Helper()
	a := h.send(r)
	if a.status != status || a.json["code"] != code {
		h.Fatalf("%s %s %v: got %d %s, want %d %s", r.method, r.path, r.body, a.status, a.raw, status, code)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		h.Errorf("%s: got content type %q, want application/problem+json", r.path, got)
	}
	for _, member := range []string{"type", "title", "status", "detail"} {
		if a.json[member] == nil || a.json[member] == "" {
			h.Errorf("%s: the problem has no %s: %s", r.path, member, a.raw)
		}
	}
	return a
}

// expectInvalid sends a request and requires the problem invalid_request.
func (h *harness) expectInvalid(r request) answer {
	h.Helper()
	return h.expectProblem(http.StatusBadRequest, "invalid_request", r)
}

// firstPointer returns the pointer of the first field in a problem.
func (h *harness) firstPointer(problem map[string]any) string {
	h.Helper()
	fields, _ := problem["errors"].([]any)
	if len(fields) == 0 {
		h.Fatalf("the problem has no errors: %v", problem)
	}
	pointer, _ := fields[0].(map[string]any)["pointer"].(string)
	return pointer
}

// expectFields requires that an object has these members.
func (h *harness) expectFields(object, want map[string]any) {
	h.Helper()
	for name, value := range want {
		if object[name] != value {
			h.Errorf("%s: got %v, want %v", name, object[name], value)
		}
	}
}

// credit credits an account.
func (h *harness) credit(account string, amount int) answer {
	h.Helper()
	return h.expect(http.StatusCreated, request{
		path: "/v1/accounts/" + account + "/credits",
		body: map[string]any{"amount": amount, "reason": "admin_credit"},
	})
}

func holdBody(amount int) map[string]any {
	return map[string]any{
		"amount":      amount,
		"reason":      "chip_menu_purchase",
		"queueItemId": "queue-1",
		"featureType": "chip_menu",
	}
}

// hold holds points of a user and returns the escrow's id.
func (h *harness) hold(user string, amount int) string {
	h.Helper()
	a := h.expect(http.StatusCreated, request{path: "/v1/accounts/" + user + "/holds", body: holdBody(amount)})
	id, _ := a.json["escrowId"].(string)
	if len(id) != 36 {
		h.Fatalf("got escrowId %q, want a UUID: %s", id, a.raw)
	}
	return id
}

func settleBody(amount any) map[string]any {
	return map[string]any{
		"modelId":     "model:m1",
		"amount":      amount,
		"reason":      "performance_completed",
		"queueItemId": "queue-1",
	}
}

func refundBody(amount any) map[string]any {
	return map[string]any{
		"amount":      amount,
		"reason":      "performance_abandoned",
		"queueItemId": "queue-1",
	}
}

// checkBalance checks the balance of an account: available and escrow for a user, earned for a
// model.
func (h *harness) checkBalance(account string, want ...float64) {
	h.Helper()
	got := h.expect(http.StatusOK, request{path: "/v1/accounts/" + account + "/balance"}).json
	fields := []string{"availableBalance", "escrowBalance"}
	if strings.HasPrefix(account, "model:") {
		fields = []string{"earnedBalance"}
	}
	for i, field := range fields {
		if got[field] != want[i] {
			h.Errorf("%s: got %s %v, want %v", account, field, got[field], want[i])
		}
	}
}

// waitUntil polls a condition that has no signal.
func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !condition(); <-tick.C {
		if time.Since(start) > 5*time.Minute {
			t.Fatal("the condition was not met in five minutes")
		}
	}
}
