package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

const serveSecret = "a-secret-of-tests-with-more-than-32-bytes"

// server is a core serve that runs until stop.
type server struct {
	*process
	http  string
	admin string
	token string
}

// launchServer starts core serve on free ports and waits until it listens. The server has no token.
func launchServer(t *testing.T, database string, args ...string) *server {
	t.Helper()
	p := launchCommand(t, append([]string{
		"serve",
		"--http", "127.0.0.1:0",
		"--admin", "127.0.0.1:0",
		"--database-url", database,
		"--log-format", "json",
	}, args...)...)
	var started struct{ HTTP, Admin string }
	line := p.err.awaitMatch(t, `^.*"msg":"core started".*$`)
	err := json.Unmarshal([]byte(line), &started)
	if err != nil {
		t.Fatal(err)
	}
	return &server{
		process: p,
		http:    "http://" + started.HTTP,
		admin:   "http://" + started.Admin,
	}
}

// launchServe starts core serve with a token that has the scopes of the tests.
func launchServe(t *testing.T, database string, args ...string) *server {
	t.Helper()
	s := launchServer(t, database, append(args, "--jwt-hs256-secret", serveSecret)...)
	raw, err := auth.Sign([]byte(serveSecret), auth.Request{
		Subject: "service",
		Scopes:  []string{auth.ScopeCredit, auth.ScopeHold, auth.ScopeRead, auth.ScopeAdmin},
		TTL:     time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.token = raw
	return s
}

func (s *server) bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + s.token}}
}

func (s *server) get(url string) (int, map[string]any) {
	s.Helper()
	return s.request(http.MethodGet, url, s.bearer(), "")
}

// credit credits one point. It fails only when the core does not answer.
func (s *server) credit(key string) (int, error) {
	body := strings.NewReader(`{"amount":1,"reason":"admin_credit"}`)
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.http+"/v1/accounts/user:u1/credits", body)
	if err != nil {
		return 0, err
	}
	req.Header = s.bearer()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// expectCredit requires that a credit is committed.
func (s *server) expectCredit(key string) {
	s.Helper()
	status, err := s.credit(key)
	if err != nil {
		s.Fatal(err)
	}
	if status != http.StatusCreated {
		s.Fatalf("status of the credit: got %d, want 201", status)
	}
}

// awaitAnswer calls the admin listener until it answers as wanted.
func (s *server) awaitAnswer(path string, isWanted func(status int, answer map[string]any) bool) {
	s.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		status, answer := s.get(s.admin + path)
		if isWanted(status, answer) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: got %d %v after %s", path, status, answer, testTimeout)
		}
	}
}

// awaitReadiness waits until /readyz answers with the status code and the status.
func (s *server) awaitReadiness(code int, status string) {
	s.Helper()
	s.awaitAnswer("/readyz", func(got int, answer map[string]any) bool {
		return got == code && answer["status"] == status
	})
}

// awaitOutbox waits until the outbox has that many rows and Redis is reachable, or not.
func (s *server) awaitOutbox(backlog float64, redisOK bool) {
	s.Helper()
	s.awaitAnswer("/admin/outbox", func(status int, answer map[string]any) bool {
		return status == http.StatusOK && answer["backlog"] == backlog && (answer["redis"] == "ok") == redisOK
	})
}

func (s *server) metricsText() string {
	s.Helper()
	_, metrics := s.get(s.admin + "/metrics")
	return fmt.Sprint(metrics["text"])
}

func TestServePublishesCredit(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, ledgerdb.Postgres(t), "--redis-url", redisURL, "--namespace", ns)
	s.expectCredit("k1")
	s.awaitOutbox(0, true)
	s.awaitReadiness(http.StatusOK, "ready")
	if text := s.metricsText(); !strings.Contains(text, `realtime_http_requests_total{operation="credit",status="201"} 1`) {
		t.Errorf("metrics: got none for the request: %s", text)
	}
	s.stop()
	log := s.err.String()
	if strings.Contains(log, serveSecret) {
		t.Errorf("log: got the secret: %s", log)
	}
	if line := findError(log); line != "" {
		t.Errorf("log: got error: %s", line)
	}
}

func TestServeReconciles(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, ledgerdb.Postgres(t), "--redis-url", redisURL, "--namespace", ns)
	s.expectCredit("k1")
	status, report := s.request(http.MethodPost, s.admin+"/admin/reconcile", s.bearer(), "")
	if status != http.StatusOK {
		t.Errorf("status: got %d, want 200", status)
	}
	if report["ok"] != true {
		t.Errorf("ok: got %v, want true", report["ok"])
	}
	if report["entries"] != 2.0 {
		t.Errorf("entries: got %v, want 2", report["entries"])
	}
	s.stop()
}

func TestServeRefusesAdminCalls(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", redisURL, "--namespace", ns)
	for _, call := range []string{"GET /admin/outbox", "POST /admin/reconcile"} {
		t.Run("without token "+call, func(t *testing.T) {
			method, path, _ := strings.Cut(call, " ")
			status, _ := s.request(method, s.admin+path, nil, "")
			if status != http.StatusUnauthorized {
				t.Errorf("status: got %d, want 401", status)
			}
		})
	}
	for _, call := range []string{
		"POST /admin/reconcile?account=user:u1",
		"GET /admin/outbox?x=1",
		"GET /admin/dead-letters?limit=1&limit=2",
		"GET /admin/dead-letters?foo=1",
		"GET /admin/dead-letters?limit=%2B1",
		"GET /admin/dead-letters?limit=01",
		"POST /admin/dead-letters/x/replay?all=true",
	} {
		t.Run(call, func(t *testing.T) {
			method, path, _ := strings.Cut(call, " ")
			status, answer := s.request(method, s.admin+path, s.bearer(), "")
			if status != http.StatusBadRequest {
				t.Errorf("status: got %d, want 400", status)
			}
			if answer["code"] != "invalid_request" {
				t.Errorf("code: got %v, want invalid_request", answer["code"])
			}
		})
	}
	s.stop()
}

func TestVerifyAndExportReadPostgres(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	database := ledgerdb.Postgres(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	s.expectCredit("k1")
	s.stop()
	for command, want := range map[string]string{
		"verify": "no findings",
		"export": ",user:u1,u1,user,available,1,0,1,1,credit,",
	} {
		t.Run(command, func(t *testing.T) {
			p := launchCommand(t, command, "--account", "user:u1", "--database-url", database)
			if code := p.awaitExit(); code != 0 {
				t.Errorf("exit code: got %d, want 0", code)
			}
			if got := p.out.String(); !strings.Contains(got, want) {
				t.Errorf("stdout: got %q, want %q", got, want)
			}
			if got := p.err.String(); got != "" {
				t.Errorf("stderr: got %q, want nothing", got)
			}
		})
	}
}

// Every operation that was answered with 201, before or during the stop, is committed, and every
// committed operation is published.
func TestServeStopsWithoutLoss(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	database := ledgerdb.Postgres(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	var g errgroup.Group
	credited := make([]int, 8)
	started := make(chan struct{}, len(credited))
	for i := range credited {
		g.Go(func() error {
			for n := 0; ; n++ {
				status, err := s.credit(fmt.Sprintf("k-%d-%d", i, n))
				if err != nil || status != http.StatusCreated {
					return nil //nolint:nilerr // the core has stopped
				}
				credited[i]++
				if credited[i] == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	deadline := time.After(testTimeout)
	for range credited {
		select {
		case <-started:
		case <-deadline:
			t.Fatalf("got clients with fewer than 3 credits after %s", testTimeout)
		}
	}
	s.stop()
	_ = g.Wait() // never fails

	var answered int64
	for _, n := range credited {
		answered += int64(n)
	}
	l := wallettest.Open(t, database, wallet.Config{})
	balance, err := l.Balance(t.Context(), "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	unanswered := int64(len(credited)) // each client may have one credit without an answer
	if balance.Available < answered || balance.Available > answered+unanswered {
		t.Errorf("balance: got %d, want %d to %d", balance.Available, answered, answered+unanswered)
	}
	rows, _, err := l.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rows != 0 {
		t.Errorf("rows in the outbox: got %d, want 0", rows)
	}
}

// The core commits without Redis and publishes when Redis is back.
func TestServeWithoutRedis(t *testing.T) {
	server := testenv.RedisServer(t)
	server.Kill()
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", server.URL())
	s.expectCredit("k1")
	s.awaitReadiness(http.StatusOK, "degraded")
	s.awaitOutbox(1, false)
	server.Start()
	s.awaitOutbox(0, true)
	s.stop()
}

// A core that cannot fetch the keys is not ready, gives the reason, and asks clients to try again.
// The log contains no password.
func TestServeWithoutKeys(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	jwks := httptest.NewServer(http.NotFoundHandler())
	defer jwks.Close()
	jwksURL := strings.Replace(jwks.URL, "http://", "http://core:hunter2@", 1) + "/keys?password=hunter2"
	s := launchServer(t, wallettest.SQLite(t), "--redis-url", redisURL, "--namespace", ns, "--jwks-url", jwksURL)
	s.err.awaitMatch(t, `^.*"level":"WARN","msg":"JWKS fetch failed","url":"`+jwks.URL+`/keys","error":"status 404".*$`)

	s.token = "eyJhbGciOiJFUzI1NiJ9.e30.eA" // its header is {"alg":"ES256"}
	s.awaitAnswer("/readyz", func(status int, answer map[string]any) bool {
		checks, _ := answer["checks"].(map[string]any)
		return status == http.StatusServiceUnavailable &&
			checks["jwks"] == "no keys could be fetched from the JWKS URL yet: status 404"
	})
	for name, url := range map[string]string{
		"API":       s.http + "/v1/accounts/user:u1/balance",
		"admin API": s.admin + "/admin/outbox",
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := s.get(url)
			if status != http.StatusServiceUnavailable {
				t.Errorf("status: got %d, want 503", status)
			}
			if answer["code"] != "unavailable" {
				t.Errorf("code: got %v, want unavailable", answer["code"])
			}
			if detail := fmt.Sprint(answer["detail"]); !strings.Contains(detail, "keys") {
				t.Errorf("detail: got %q, want a text about keys", detail)
			}
		})
	}
	if text := s.metricsText(); !strings.Contains(text, "realtime_jwks_fetch_errors_total 1") {
		t.Errorf("metrics: got none for the failed fetch: %s", text)
	}
	s.stop()
	if log := s.err.String(); strings.Contains(log, "hunter2") {
		t.Errorf("log: got the password: %s", log)
	}
}

// During the drain delay the core serves, and /readyz answers 503.
func TestServeDrains(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", redisURL, "--namespace", ns, "--drain-delay", "300ms")
	s.cancel()
	s.awaitReadiness(http.StatusServiceUnavailable, "draining")
	s.expectCredit("k1")
	s.stop()
}

// refusal is a core serve that does not start.
type refusal struct {
	database   string
	redisURL   string
	namespace  string
	partitions string
	wantError  string
}

func (r refusal) expect(t *testing.T) {
	t.Helper()
	p := launchCommand(t, "serve",
		"--http", "127.0.0.1:0",
		"--admin", "127.0.0.1:0",
		"--database-url", r.database,
		"--jwt-hs256-secret", serveSecret,
		"--redis-url", r.redisURL,
		"--namespace", r.namespace,
		"--partitions", r.partitions,
	)
	if code := p.awaitExit(); code != 1 {
		t.Errorf("exit code: got %d, want 1", code)
	}
	if got := p.err.String(); !strings.Contains(got, r.wantError) {
		t.Errorf("stderr: got %q, want %q", got, r.wantError)
	}
}
