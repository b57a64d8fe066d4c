package gateway_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	redislog "github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/lifecycle"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

func TestMain(m *testing.M) {
	redislog.Disable()
	// A pool that has seen several dials fail goes on dialling, with a pause of a second, until it finds that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

var (
	secret = []byte("a-secret-of-tests-with-more-than-32-bytes")
	quiet  = slog.New(slog.DiscardHandler)
)

// world is a core, a Redis and a gateway that run until the test ends.
type world struct {
	*testing.T
	ledger     *wallet.Ledger
	rdb        redis.UniversalClient
	keys       bus.Keys
	core       *httptest.Server
	verifier   *auth.Verifier
	url, admin string
	running    *gateway.Gateway
	stop       func() // stops the gateway and waits for it
}

func newWorld(t *testing.T, cfg gateway.Config) *world {
	t.Helper()
	redisURL, ns := testenv.Redis(t)
	return newWorldOn(t, redisURL, bus.Keys{Namespace: ns}, cfg)
}

func newWorldOn(t *testing.T, redisURL string, keys bus.Keys, cfg gateway.Config) *world {
	t.Helper()
	w := &world{T: t, keys: keys.WithDefaults()}
	var err error
	if w.verifier, err = auth.NewVerifier(auth.Config{HS256Secret: secret}); err != nil {
		t.Fatal(err)
	}
	if w.rdb, err = redisconn.Open(redisURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.rdb.Close() })
	w.publishing()
	w.core = httptest.NewServer(coreapi.New(w.ledger, w.verifier, coreapi.Config{Keys: w.keys, Logger: quiet}))
	t.Cleanup(w.core.Close)
	w.gateway(cfg)
	return w
}

// publishing runs a ledger and its relay until the test ends.
func (w *world) publishing() {
	w.Helper()
	var r *relay.Relay
	w.ledger = wallettest.Open(w.T, wallettest.SQLite(w.T), wallet.Config{Logger: quiet, Committed: func(rows []bus.OutboxRow) { r.Offer(rows) }})
	r = relay.New(w.ledger, publish.New(w.rdb, publish.Config{Keys: w.keys}), relay.Config{Logger: quiet})
	w.background(r.Run)
}

// background runs until the test ends, before the ledger is closed.
func (w *world) background(run func(context.Context) error) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return run(ctx) })
	stop = func() {
		cancel()
		if err := g.Wait(); err != nil {
			w.Error(err)
		}
	}
	w.Cleanup(stop)
	return stop
}

func (w *world) gateway(cfg gateway.Config) {
	w.Helper()
	history, err := coreclient.New(w.core.URL, w.sign("gateway", auth.ScopeRead), coreclient.Config{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(history.Close)
	cfg.Keys, cfg.Logger = w.keys, quiet
	g, err := gateway.New(w.Context(), w.rdb, history, w.verifier, cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.running = g
	public, admin := listen(w.T), listen(w.T)
	w.url, w.admin = "http://"+public.Addr().String(), "http://"+admin.Addr().String()
	w.stop = w.background(func(ctx context.Context) error { return lifecycle.Run(ctx, g.Stages(public, admin)...) })
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (w *world) sign(sub, scope string) string {
	w.Helper()
	raw, err := auth.Sign(secret, auth.Request{Subject: sub, Scopes: strings.Fields(scope), TTL: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	return raw
}

func (w *world) credit(account wallet.Account, amount int64, key string) {
	w.Helper()
	if _, err := w.ledger.Do(w.Context(), wallet.Op{Operation: wallet.OpCredit, Account: account, Amount: amount, Reason: "admin_credit", IdempotencyKey: key}); err != nil {
		w.Fatal(err)
	}
}

type reply struct {
	status int
	header http.Header
	json   map[string]any
}

func (w *world) get(url, raw string, header ...string) reply {
	return w.call(http.MethodGet, url, raw, header...)
}

func (w *world) call(method, url, raw string, header ...string) reply {
	w.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		w.Fatal(err)
	}
	if raw != "" {
		req.Header.Set("Authorization", "Bearer "+raw)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &r.json); err != nil {
			w.Fatalf("%s: %q: %v", url, body, err)
		}
	}
	return r
}

// until asks again and again until the answer will do.
func (w *world) until(what string, ask func() reply, good func(reply) bool) reply {
	w.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		r := ask()
		if good(r) {
			return r
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: still %d %v", what, r.status, r.json)
		}
	}
}

func (w *world) untilReady() reply {
	w.Helper()
	return w.until("ready", func() reply { return w.get(w.admin+"/readyz", "") }, func(r reply) bool { return r.status == http.StatusOK })
}

func TestBalance(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.sign("user:u1", "")
	path := w.url + "/v1/accounts/user:u1/balance"

	if r := w.get(path, own); r.status != http.StatusNotFound || r.json["code"] != "account_not_found" {
		t.Errorf("unknown account: %d %v", r.status, r.json)
	}
	w.credit("user:u1", 500, "k1")
	r := w.until("from redis", func() reply { return w.get(path, own) }, func(r reply) bool { return r.header.Get("X-Balance-Source") == "redis" })
	if r.json["availableBalance"] != 500.0 || r.json["seq"] != 1.0 || r.json["currency"] != "points" {
		t.Errorf("balance from redis: %v", r.json)
	}

	for name, c := range map[string]struct {
		account, raw string
		status       int
		code         string
	}{
		"no token":      {"user:u1", "", http.StatusUnauthorized, "unauthorized"},
		"bad token":     {"user:u1", "x.y.z", http.StatusUnauthorized, "unauthorized"},
		"other account": {"user:u2", own, http.StatusForbidden, "forbidden"},
		"scope of core": {"user:u1", w.sign("shop", auth.ScopeRead), http.StatusForbidden, "forbidden"},
		"no account":    {"nonsense", w.sign("all", auth.ScopeEvents), http.StatusBadRequest, "invalid_request"},
		"still none":    {"nonsense", own, http.StatusBadRequest, "invalid_request"},
		"nobody's":      {"user:nobody", w.sign("all", auth.ScopeEvents), http.StatusNotFound, "account_not_found"},
	} {
		if r := w.get(w.url+"/v1/accounts/"+c.account+"/balance", c.raw); r.status != c.status || r.json["code"] != c.code {
			t.Errorf("%s: %d %v", name, r.status, r.json)
		}
	}
	if r := w.get(path, w.sign("all", auth.ScopeEvents)); r.status != http.StatusOK {
		t.Errorf("events:all: %d %v", r.status, r.json)
	}
	for _, query := range []string{"asOf=2020-01-01T00:00:00Z", "x", "asOf=", "%zz"} {
		if r := w.get(path+"?"+query, own); r.status != http.StatusBadRequest || r.json["code"] != "invalid_request" {
			t.Errorf("?%s: %d %v", query, r.status, r.json)
		}
	}
	if r := w.call(http.MethodPost, path, own); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "GET" {
		t.Errorf("POST: %d %v", r.status, r.header)
	}
	if r := w.get(w.url+"/", own); r.status != http.StatusNotFound || r.json["code"] != "not_found" {
		t.Errorf("root: %d %v", r.status, r.json)
	}
}

// What Redis lacks, the core knows; what neither can tell is no zero.
func TestBalanceFromTheCore(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	own := w.sign("model:m1", "")
	path := w.url + "/v1/accounts/model:m1/balance"
	w.credit("model:m1", 7, "k1")
	w.until("published", func() reply { return w.get(path, own) }, func(r reply) bool { return r.header.Get("X-Balance-Source") == "redis" })
	w.stop()
	if err := w.rdb.Del(t.Context(), w.keys.BalanceHash("model:m1")).Err(); err != nil {
		t.Fatal(err)
	}
	w.gateway(gateway.Config{}) // one that has nothing in memory
	path = w.url + "/v1/accounts/model:m1/balance"
	for n := range 2 { // Redis still lacks it
		if r := w.get(path, own); r.status != http.StatusOK || r.header.Get("X-Balance-Source") != "core" || r.json["earnedBalance"] != 7.0 {
			t.Errorf("from the core, %d: %d %v %v", n, r.status, r.header, r.json)
		}
	}
	w.core.Close()
	if r := w.get(w.url+"/v1/accounts/model:m2/balance", w.sign("model:m2", "")); r.status != http.StatusServiceUnavailable || r.json["code"] != "unavailable" || r.header.Get("Retry-After") == "" {
		t.Errorf("nobody to ask: %d %v", r.status, r.json)
	}
}

func TestWebPages(t *testing.T) {
	w := newWorld(t, gateway.Config{AllowedOrigins: []string{"https://*.example"}})
	path := w.url + "/v1/accounts/user:u1/balance"
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.test": "", "null": "", w.url: w.url} {
		r := w.call(http.MethodOptions, path, "", "Origin", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
		if got := r.header.Get("Access-Control-Allow-Origin"); r.status != http.StatusNoContent || got != want {
			t.Errorf("preflight of %s: %d, allowed %q", origin, r.status, got)
		}
		r = w.get(path, "", "Origin", origin)
		if got := r.header.Get("Access-Control-Allow-Origin"); got != want || r.header.Get("Vary") != "Origin" {
			t.Errorf("call of %s: allowed %q", origin, got)
		}
	}
}

func TestAdmin(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	r := w.untilReady()
	checks, _ := r.json["checks"].(map[string]any)
	for _, name := range []string{"redis", "streams", "core"} {
		if checks[name] != "ok" {
			t.Errorf("readyz: %s is %v", name, checks[name])
		}
	}
	if r := w.get(w.admin+"/healthz", ""); r.status != http.StatusOK {
		t.Errorf("healthz: %d", r.status)
	}
	if r := w.get(w.admin+"/admin/stats", w.sign("ops", auth.ScopeAdmin)); r.status != http.StatusOK || r.json["connections"] != 0.0 {
		t.Errorf("stats: %d %v", r.status, r.json)
	}
	if r := w.get(w.admin+"/admin/stats", w.sign("app", auth.ScopeRead)); r.status != http.StatusForbidden {
		t.Errorf("stats without scope: %d", r.status)
	}
	if r := w.get(w.admin+"/admin/stats", ""); r.status != http.StatusUnauthorized {
		t.Errorf("stats without token: %d", r.status)
	}
	w.core.Close()
	w.until("degraded", func() reply { return w.get(w.admin+"/readyz", "") },
		func(r reply) bool { return r.status == http.StatusOK && r.json["status"] == "degraded" })
}

// Readiness turns while clients are still served.
func TestDrain(t *testing.T) {
	w := newWorld(t, gateway.Config{DrainDelay: 300 * time.Millisecond})
	w.untilReady()
	var g errgroup.Group
	g.Go(func() error { w.stop(); return nil })
	w.until("draining", func() reply { return w.get(w.admin+"/readyz", "") },
		func(r reply) bool { return r.status == http.StatusServiceUnavailable && r.json["status"] == "draining" })
	if r := w.get(w.url+"/v1/accounts/user:u1/balance", w.sign("user:u1", "")); r.status != http.StatusNotFound {
		t.Errorf("while draining: %d %v", r.status, r.json)
	}
	_ = g.Wait() // stop reports by itself
}

func TestAnotherLayout(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	history, err := coreclient.New(w.core.URL, "x", coreclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	keys := w.keys
	keys.Partitions = 8
	if _, err := gateway.New(t.Context(), w.rdb, history, w.verifier, gateway.Config{Keys: keys, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "--partitions 8") {
		t.Errorf("another layout: %v", err)
	}
}

// A gateway on a namespace to which nobody publishes would never show anything.
func TestAnotherNamespace(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.untilReady()
	core := w.keys.String()
	w.keys.Namespace += "-typo"
	w.gateway(gateway.Config{})
	w.until("not ready", func() reply { return w.get(w.admin+"/readyz", "") }, func(r reply) bool {
		checks, _ := r.json["checks"].(map[string]any)
		streams, _ := checks["streams"].(string)
		return r.status == http.StatusServiceUnavailable && strings.Contains(streams, "elsewhere: it uses "+core)
	})
}

// A gateway that starts before its Redis waits for it.
func TestRedisComesLater(t *testing.T) {
	srv := testenv.RedisServer(t)
	srv.Kill()
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{})
	if r := w.get(w.admin+"/readyz", ""); r.status != http.StatusServiceUnavailable || r.json["status"] != "not_ready" {
		t.Errorf("without redis: %d %v", r.status, r.json)
	}
	// The core knows even now, and each time anew.
	for n, key := range []string{"k1", "k2"} {
		w.credit("user:u1", 5, key)
		r := w.get(w.url+"/v1/accounts/user:u1/balance", w.sign("user:u1", ""))
		if r.status != http.StatusOK || r.header.Get("X-Balance-Source") != "core" || r.json["availableBalance"] != float64(5*(n+1)) {
			t.Errorf("balance without redis: %d %v %v", r.status, r.header, r.json)
		}
	}
	srv.Start()
	w.untilReady()
}

func TestMetricsAreDocumented(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	testenv.CheckMetrics(t, w.running.Registry(), "Gateway")
}
