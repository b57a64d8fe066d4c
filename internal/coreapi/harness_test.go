package coreapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("a-secret-of-tests-with-more-than-32-bytes")

const allScopes = "wallet:credit wallet:debit wallet:hold wallet:settle wallet:read"

// harness is the API in front of a real ledger, over real HTTP.
type harness struct {
	*testing.T
	url    string
	ledger *wallet.Ledger
	token  string // with all scopes
}

// onEachDatabase runs the test on Postgres and on SQLite.
func onEachDatabase(t *testing.T, test func(h *harness)) {
	t.Helper()
	ledgerdb.Each(t, func(t *testing.T, url string) {
		l := wallettest.Open(t, url, wallet.Config{Logger: slog.New(slog.DiscardHandler)})
		test(serveAPI(t, l, l))
	})
}

func serveAPI(t *testing.T, l *wallet.Ledger, as coreapi.Ledger) *harness {
	t.Helper()
	v, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(coreapi.New(as, v, coreapi.Config{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return &harness{T: t, url: srv.URL, ledger: l, token: signToken(t, "service", nil, allScopes)}
}

func signToken(t testing.TB, sub string, accounts []string, scope string) string {
	t.Helper()
	raw, err := auth.Sign(secret, auth.Request{Subject: sub, Accounts: accounts, Scopes: strings.Fields(scope), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// request is one call; what is empty has a value that is right.
type request struct {
	method, path string
	token        string // "-": none
	key          string // "-": none
	body         any    // a string goes as it is
	header       map[string]string
	chunked      bool
}

type answer struct {
	status int
	header http.Header
	raw    string
	json   map[string]any
}

func (h *harness) send(r request) answer {
	h.Helper()
	var body io.Reader
	if r.body != nil {
		s, ok := r.body.(string)
		if !ok {
			b, err := json.Marshal(r.body)
			if err != nil {
				h.Fatal(err)
			}
			s = string(b)
		}
		body = strings.NewReader(s)
		if r.chunked {
			body = io.MultiReader(body) // hides the length
		}
	}
	if r.method == "" {
		r.method = http.MethodGet
		if body != nil {
			r.method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(h.Context(), r.method, h.url+r.path, body)
	if err != nil {
		h.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "-" && r.method == http.MethodPost {
		if r.key == "" {
			r.key = h.Name() + r.path + strings.ReplaceAll(time.Now().Format(time.RFC3339Nano), " ", "")
		}
		req.Header.Set("Idempotency-Key", strings.ReplaceAll(r.key, " ", "_"))
	}
	switch r.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+h.token)
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if bytes.HasPrefix(raw, []byte("{")) {
		if err := json.Unmarshal(raw, &a.json); err != nil {
			h.Fatalf("%s %s: answer %q: %v", r.method, r.path, raw, err)
		}
	}
	return a
}

// good wants a status and returns the answer.
func (h *harness) expect(status int, r request) answer {
	h.Helper()
	a := h.send(r)
	if a.status != status {
		h.Fatalf("%s %s: %d %s, want %d", r.method, r.path, a.status, a.raw, status)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		h.Errorf("%s: content type %q", r.path, ct)
	}
	return a
}

// refused wants a problem with a code and returns it.
func (h *harness) expectProblem(status int, code string, r request) answer {
	h.Helper()
	a := h.send(r)
	if a.status != status || a.json["code"] != code {
		h.Fatalf("%s %s %v: %d %s, want %d %s", r.method, r.path, r.body, a.status, a.raw, status, code)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		h.Errorf("%s: content type %q", r.path, ct)
	}
	for _, member := range []string{"type", "title", "status", "detail"} {
		if a.json[member] == nil || a.json[member] == "" {
			h.Errorf("%s: the problem has no %s: %s", r.path, member, a.raw)
		}
	}
	return a
}

func (h *harness) credit(account string, amount int) answer {
	h.Helper()
	return h.expect(http.StatusCreated, request{
		path: "/v1/accounts/" + account + "/credits", body: map[string]any{"amount": amount, "reason": "admin_credit"},
	})
}

func holdBody(amount int) map[string]any {
	return map[string]any{"amount": amount, "reason": "chip_menu_purchase", "queueItemId": "queue-1", "featureType": "chip_menu"}
}

// hold returns the escrow's id.
func (h *harness) hold(user string, amount int) string {
	h.Helper()
	a := h.expect(http.StatusCreated, request{path: "/v1/accounts/" + user + "/holds", body: holdBody(amount)})
	id, _ := a.json["escrowId"].(string)
	if len(id) != 36 {
		h.Fatalf("a hold without escrowId: %s", a.raw)
	}
	return id
}

func settleBody(amount any) map[string]any {
	return map[string]any{"modelId": "model:m1", "amount": amount, "reason": "performance_completed", "queueItemId": "queue-1"}
}

func refundBody(amount any) map[string]any {
	return map[string]any{"amount": amount, "reason": "performance_abandoned", "queueItemId": "queue-1"}
}

// balance wants an account's numbers: available and escrow, or earned.
func (h *harness) checkBalance(account string, want ...float64) {
	h.Helper()
	got := h.expect(http.StatusOK, request{path: "/v1/accounts/" + account + "/balance"}).json
	fields := []string{"availableBalance", "escrowBalance"}
	if strings.HasPrefix(account, "model:") {
		fields = []string{"earnedBalance"}
	}
	for i, f := range fields {
		if got[f] != want[i] {
			h.Errorf("%s: %s is %v, want %v", account, f, got[f], want[i])
		}
	}
}

// waitUntil polls for what nothing signals.
func waitUntil(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			t.Fatal("waited in vain")
		}
	}
}
