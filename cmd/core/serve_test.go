package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

const serveSecret = "a-secret-of-tests-with-more-than-32-bytes"

// server is a core serve that runs until stop.
type server struct {
	*process
	http, admin string
	token       string
}

func launchServe(t *testing.T, database string, args ...string) *server {
	t.Helper()
	p := launch(t, append([]string{"serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--database-url", database,
		"--jwt-hs256-secret", serveSecret, "--log-format", "json"}, args...)...)
	var line struct{ HTTP, Admin string }
	if err := json.Unmarshal([]byte(p.err.wait(t, `^.*"msg":"core serves".*$`)), &line); err != nil {
		t.Fatal(err)
	}
	raw, err := auth.Sign([]byte(serveSecret), auth.Request{Subject: "service", TTL: time.Hour,
		Scopes: []string{auth.ScopeCredit, auth.ScopeHold, auth.ScopeRead, auth.ScopeAdmin}})
	if err != nil {
		t.Fatal(err)
	}
	return &server{process: p, http: "http://" + line.HTTP, admin: "http://" + line.Admin, token: raw}
}

func (s *server) get(url string) (int, map[string]any) {
	s.Helper()
	return s.request(http.MethodGet, url, http.Header{"Authorization": {"Bearer " + s.token}}, "")
}

func (s *server) credit(key string) (int, error) {
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.http+"/v1/accounts/user:u1/credits",
		bytes.NewReader([]byte(`{"amount":1,"reason":"admin_credit"}`)))
	if err != nil {
		return 0, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// until asks the admin listener again until the answer will do.
func (s *server) until(path string, good func(int, map[string]any) bool) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		status, answer := s.get(s.admin + path)
		if good(status, answer) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: still %d %v", path, status, answer)
		}
	}
}

func TestServe(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	database := ledgerdb.Postgres(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	if status, err := s.credit("k1"); status != http.StatusCreated || err != nil {
		t.Fatalf("credit: %d %v", status, err)
	}
	s.until("/admin/outbox", func(status int, a map[string]any) bool {
		return status == http.StatusOK && a["backlog"] == 0.0 && a["redis"] == "ok"
	})
	s.until("/readyz", func(status int, a map[string]any) bool { return status == http.StatusOK && a["status"] == "ready" })
	if _, metrics := s.get(s.admin + "/metrics"); !strings.Contains(fmt.Sprint(metrics["text"]), `http_requests_total{operation="credit",status="201"} 1`) {
		t.Error("metrics lack the request")
	}
	if status, _ := s.request(http.MethodGet, s.admin+"/admin/outbox", nil, ""); status != http.StatusUnauthorized {
		t.Errorf("outbox without token: %d", status)
	}
	bearer := http.Header{"Authorization": {"Bearer " + s.token}}
	if status, report := s.request(http.MethodPost, s.admin+"/admin/reconcile", bearer, ""); status != http.StatusOK || report["ok"] != true || report["entries"] != 2.0 {
		t.Errorf("reconcile: %d %v", status, report)
	}
	if status, _ := s.request(http.MethodPost, s.admin+"/admin/reconcile", nil, ""); status != http.StatusUnauthorized {
		t.Errorf("reconcile without token: %d", status)
	}
	for _, call := range []string{"POST /admin/reconcile?account=user:u1", "GET /admin/outbox?x=1", "GET /admin/dead-letters?limit=1&limit=2",
		"GET /admin/dead-letters?foo=1", "GET /admin/dead-letters?limit=%2B1", "GET /admin/dead-letters?limit=01", "POST /admin/dead-letters/x/replay?all=true"} {
		method, path, _ := strings.Cut(call, " ")
		if status, a := s.request(method, s.admin+path, bearer, ""); status != http.StatusBadRequest || a["code"] != "invalid_request" {
			t.Errorf("%s: %d %v", call, status, a)
		}
	}
	s.stop()
	if log := s.err.String(); strings.Contains(log, serveSecret) || strings.Contains(log, "ERROR") {
		t.Errorf("log: %s", log)
	}
	for _, c := range []struct{ command, want string }{{"verify", "nothing is wrong"}, {"export", ",user:u1,available,1,0,1,1,credit,"}} {
		p := launch(t, c.command, "--account", "user:u1", "--database-url", database)
		if code := <-p.code; code != 0 || !strings.Contains(p.out.String(), c.want) || p.err.String() != "" {
			t.Errorf("%s: exit code %d, %s%s", c.command, code, p.out, p.err)
		}
	}
}

// Whatever was answered with 201 before or while the core stopped is committed,
// and what was committed is published.
func TestServeStopsWithoutLoss(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	database := ledgerdb.Postgres(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	var g errgroup.Group
	done := make([]int, 8)
	started := make(chan struct{}, len(done))
	for i := range done {
		g.Go(func() error {
			for n := 0; ; n++ {
				status, err := s.credit(fmt.Sprintf("k-%d-%d", i, n))
				if err != nil || status != http.StatusCreated {
					return nil //nolint:nilerr // the core is gone
				}
				if done[i]++; done[i] == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range done {
		<-started
	}
	s.stop()
	_ = g.Wait() // never fails
	var answered int64
	for _, n := range done {
		answered += int64(n)
	}
	l := wallettest.Open(t, database, wallet.Config{})
	b, err := l.Balance(t.Context(), "user:u1")
	if err != nil || b.Available < answered || b.Available > answered+int64(len(done)) {
		t.Errorf("%d credits were answered, the balance is %d (%v)", answered, b.Available, err)
	}
	if rows, _, err := l.Backlog(t.Context()); rows != 0 || err != nil {
		t.Errorf("%d transactions are left in the outbox (%v)", rows, err)
	}
}

// Redis is no reason not to commit.
func TestServeWithoutRedis(t *testing.T) {
	server := testenv.RedisServer(t)
	server.Kill()
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", server.URL())
	if status, err := s.credit("k1"); status != http.StatusCreated || err != nil {
		t.Fatalf("credit: %d %v", status, err)
	}
	s.until("/readyz", func(status int, a map[string]any) bool { return status == http.StatusOK && a["status"] == "degraded" })
	s.until("/admin/outbox", func(_ int, a map[string]any) bool { return a["backlog"] == 1.0 && a["redis"] != "ok" })
	server.Start()
	s.until("/admin/outbox", func(_ int, a map[string]any) bool { return a["backlog"] == 0.0 && a["redis"] == "ok" })
	s.stop()
}

// A core whose keys cannot be fetched is not ready, says so, and asks clients to try again. No password is in the log.
func TestServeWithoutKeys(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	keys := strings.Replace(away.URL, "http://", "http://core:hunter2@", 1) + "/keys?password=hunter2"
	p := launch(t, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--database-url", wallettest.SQLite(t),
		"--redis-url", redisURL, "--namespace", ns, "--jwks-url", keys, "--log-format", "json")
	var line struct{ HTTP, Admin string }
	if err := json.Unmarshal([]byte(p.err.wait(t, `^.*"msg":"core serves".*$`)), &line); err != nil {
		t.Fatal(err)
	}
	p.err.wait(t, `^.*"level":"WARN","msg":"JWKS fetch failed","jwks":"`+away.URL+`/keys","error":"status 404".*$`)
	s := &server{process: p, http: "http://" + line.HTTP, admin: "http://" + line.Admin, token: "eyJhbGciOiJFUzI1NiJ9.e30.eA"} // {"alg":"ES256"}
	s.until("/readyz", func(status int, a map[string]any) bool {
		checks, _ := a["checks"].(map[string]any)
		return status == http.StatusServiceUnavailable && checks["jwks"] == "no keys of tokens could be fetched yet: status 404"
	})
	for _, url := range []string{s.http + "/v1/accounts/user:u1/balance", s.admin + "/admin/outbox"} {
		if status, a := s.get(url); status != http.StatusServiceUnavailable || a["code"] != "unavailable" || !strings.Contains(fmt.Sprint(a["detail"]), "keys") {
			t.Errorf("%s: %d %v", url, status, a)
		}
	}
	if _, metrics := s.get(s.admin + "/metrics"); !strings.Contains(fmt.Sprint(metrics["text"]), "jwks_fetch_errors_total 1") {
		t.Error("metrics lack the fetch")
	}
	s.stop()
	if strings.Contains(p.err.String(), "hunter2") {
		t.Errorf("log: %s", p.err)
	}
}

func TestServeDrains(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	s := launchServe(t, wallettest.SQLite(t), "--redis-url", redisURL, "--namespace", ns, "--drain-delay", "300ms")
	s.cancel()
	s.until("/readyz", func(status int, a map[string]any) bool {
		return status == http.StatusServiceUnavailable && a["status"] == "draining"
	})
	if status, err := s.credit("k1"); status != http.StatusCreated || err != nil {
		t.Errorf("while draining: %d %v", status, err)
	}
	s.stop()
}

// A core that is refused leaves Redis, the ledger and the cores that run as they were.
func TestServeRefusedChangesNothing(t *testing.T) {
	redisURL, ns := testenv.Redis(t)
	_, otherNS := testenv.Redis(t)
	rdb, err := redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	layout := func(namespace string) string {
		t.Helper()
		have, err := rdb.Get(t.Context(), bus.Keys{Namespace: namespace}.Layout()).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
		return have
	}
	refused := func(want, database, namespace, partitions string) {
		t.Helper()
		p := launch(t, "serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--database-url", database,
			"--jwt-hs256-secret", serveSecret, "--redis-url", redisURL, "--namespace", namespace, "--partitions", partitions)
		if code := <-p.code; code != 1 || !strings.Contains(p.err.String(), want) {
			t.Errorf("exit code %d, want 1 and %q: %s", code, want, p.err)
		}
	}
	refused("core migrate up", testenv.Postgres(t, testenv.Schema{}), ns, "8")
	refused("--database-url", "postgres://core@127.0.0.1:1/points", ns, "8")
	if have := layout(ns); have != "" {
		t.Errorf("without a ledger: %s partitions were claimed", have)
	}

	database := wallettest.SQLite(t)
	s := launchServe(t, database, "--redis-url", redisURL, "--namespace", ns)
	if err := rdb.Del(t.Context(), bus.Keys{Namespace: ns}.Layout()).Err(); err != nil { // as if Redis was emptied
		t.Fatal(err)
	}
	refused("--namespace must be "+ns+" and --partitions must be 16", database, ns, "8")
	refused("--namespace must be "+ns+" and --partitions must be 16", database, otherNS, "16")
	if have := layout(ns); have != "" && have != "16" { // which the one that runs may have claimed again
		t.Errorf("with other partitions than the ledger's: %s were claimed", have)
	}
	if have := layout(otherNS); have != "" {
		t.Errorf("with another namespace than the ledger's: %s partitions were claimed in it", have)
	}
	if status, answer := s.get(s.admin + "/readyz"); status != http.StatusOK || answer["status"] != "ready" {
		t.Errorf("the core that runs: %d %v", status, answer)
	}

	fresh := wallettest.SQLite(t)
	refused("--partitions 16", fresh, ns, "8")
	launchServe(t, fresh, "--redis-url", redisURL, "--namespace", ns).stop() // it was not bound to 8
	s.stop()
}
