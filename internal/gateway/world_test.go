package gateway_test

import (
	"bytes"
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
	// After several failed dials, a pool dials in the background, once a second, until it notices that
	// it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// testTimeout bounds every wait of a test.
const testTimeout = 5 * time.Minute

// pollInterval is the pause between two checks of a condition that nothing signals.
const pollInterval = 5 * time.Millisecond

var (
	secret     = []byte("a-secret-of-tests-with-more-than-32-bytes")
	discardLog = slog.New(slog.DiscardHandler)
)

// world is a core, a Redis and a gateway that run until the test ends.
type world struct {
	*testing.T
	ledger   *wallet.Ledger
	rdb      redis.UniversalClient
	keys     bus.Keys
	core     *httptest.Server
	verifier *auth.Verifier
	running  *gateway.Gateway
	url      string
	admin    string
	stop     func() // stops the gateway and waits for it
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
	w.verifier, err = auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	w.rdb, err = redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.rdb.Close() })
	w.runLedger()
	w.core = httptest.NewServer(coreapi.New(w.ledger, w.verifier, coreapi.Config{
		Timeout: 2 * time.Minute, // the machines of tests are often slow
		Keys:    w.keys,
		Logger:  discardLog,
	}))
	t.Cleanup(w.core.Close)
	w.startGateway(cfg)
	return w
}

// runLedger runs a ledger and its relay until the test ends.
func (w *world) runLedger() {
	w.Helper()
	var r *relay.Relay
	w.ledger = wallettest.Open(w.T, wallettest.SQLite(w.T), wallet.Config{
		Logger:    discardLog,
		Committed: func(rows []bus.OutboxRow) { r.Offer(rows) },
	})
	r = relay.New(w.ledger, publish.New(w.rdb, publish.Config{Keys: w.keys}), relay.Config{
		Sweep:  100 * time.Millisecond,
		Check:  100 * time.Millisecond,
		Logger: discardLog,
	})
	w.runInBackground(r.Run)
}

// runInBackground calls run until the test ends or stop is called.
func (w *world) runInBackground(run func(context.Context) error) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return run(ctx) })
	stop = func() {
		cancel()
		err := g.Wait()
		if err != nil {
			w.Error(err)
		}
	}
	w.Cleanup(stop)
	return stop
}

// stopInBackground stops the gateway. The returned function waits for it.
func (w *world) stopInBackground() (wait func()) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.stop()
	}()
	return func() { <-stopped }
}

// startGateway starts a gateway. The fields of w that belong to a gateway are then those of the new
// one.
func (w *world) startGateway(cfg gateway.Config) {
	w.Helper()
	core, err := coreclient.New(w.core.URL, w.signToken("gateway", auth.ScopeRead), coreclient.Config{Timeout: time.Minute})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(core.Close)
	cfg.Logger = discardLog
	w.startGatewayWith(core, cfg)
}

// startGatewayWith is startGateway with a client of the core and a log of the caller.
func (w *world) startGatewayWith(core *coreclient.Client, cfg gateway.Config) {
	w.Helper()
	cfg.Keys = w.keys
	g, err := gateway.New(w.Context(), w.rdb, core, w.verifier, cfg)
	if err != nil {
		w.Fatal(err)
	}
	public := openListener(w.T)
	admin := openListener(w.T)
	w.running = g
	w.url = "http://" + public.Addr().String()
	w.admin = "http://" + admin.Addr().String()
	w.stop = w.runInBackground(func(ctx context.Context) error {
		return lifecycle.Run(ctx, g.Stages(public, admin)...)
	})
}

func openListener(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// socketURL returns the URL for WebSocket clients.
func (w *world) socketURL() string { return socketURL(w.url) }

func socketURL(url string) string { return strings.Replace(url, "http", "ws", 1) + "/v1/ws" }

// balanceURL returns the URL of an account's balance.
func (w *world) balanceURL(account string) string {
	return w.url + "/v1/accounts/" + account + "/balance"
}

func (w *world) signToken(sub, scope string) string {
	w.Helper()
	return w.signRequest(auth.Request{
		Subject: sub,
		Scopes:  strings.Fields(scope),
		TTL:     time.Hour,
	})
}

func (w *world) signRequest(r auth.Request) string {
	w.Helper()
	raw, err := auth.Sign(secret, r)
	if err != nil {
		w.Fatal(err)
	}
	return raw
}

func (w *world) creditPoints(account wallet.Account, amount int64, key string) {
	w.Helper()
	_, err := w.ledger.Do(w.Context(), wallet.Op{
		Operation:      wallet.OpCredit,
		IdempotencyKey: key,
		Account:        account,
		Amount:         amount,
		Reason:         "admin_credit",
	})
	if err != nil {
		w.Fatal(err)
	}
}

// reply is an HTTP answer.
type reply struct {
	status int
	header http.Header
	json   map[string]any
}

// checks returns the checks of /readyz.
func (r reply) checks() map[string]any {
	checks, _ := r.json["checks"].(map[string]any)
	return checks
}

// source returns the source of a balance.
func (r reply) source() string { return r.header.Get("X-Balance-Source") }

func (r reply) expectStatus(t *testing.T, want int) {
	t.Helper()
	if r.status != want {
		t.Errorf("status: got %d, want %d: %v", r.status, want, r.json)
	}
}

// expectProblem checks the status and the code of a problem document.
func (r reply) expectProblem(t *testing.T, status int, code string) {
	t.Helper()
	r.expectStatus(t, status)
	if got := r.json["code"]; got != code {
		t.Errorf("code: got %v, want %s", got, code)
	}
}

// expectRetryable checks a 503 that asks the client to try again.
func (r reply) expectRetryable(t *testing.T, code string) {
	t.Helper()
	r.expectProblem(t, http.StatusServiceUnavailable, code)
	if r.header.Get("Retry-After") == "" {
		t.Error("Retry-After: got none")
	}
}

// expectJSON checks a member of the answer's body.
func (r reply) expectJSON(t *testing.T, name string, want any) {
	t.Helper()
	if got := r.json[name]; got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func (r reply) expectHeader(t *testing.T, name, want string) {
	t.Helper()
	if got := r.header.Get(name); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// get makes a GET request. headers are names and values in turn.
func (w *world) get(url, token string, headers ...string) reply {
	w.Helper()
	return w.request(http.MethodGet, url, token, "", headers...)
}

func (w *world) request(method, url, token, body string, headers ...string) reply {
	w.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		w.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: w.newTransport()}
	resp, err := client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header}
	if len(answer) > 0 {
		err := json.Unmarshal(answer, &r.json)
		if err != nil {
			w.Fatalf("%s: answer %q: %v", url, answer, err)
		}
	}
	return r
}

// awaitReply calls ask until its reply is as wanted.
func (w *world) awaitReply(what string, ask func() reply, isWanted func(reply) bool) reply {
	w.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		r := ask()
		if isWanted(r) {
			return r
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: got %d %v %v after %s", what, r.status, r.header, r.json, testTimeout)
		}
		<-time.After(pollInterval)
	}
}

// awaitReadiness waits until /readyz answers as wanted.
func (w *world) awaitReadiness(what string, isWanted func(reply) bool) reply {
	w.Helper()
	return w.awaitReply(what, func() reply { return w.get(w.admin+"/readyz", "") }, isWanted)
}

func (w *world) awaitReady() reply {
	w.Helper()
	return w.awaitReadiness("ready", func(r reply) bool { return r.status == http.StatusOK })
}

// isDraining reports whether /readyz answers that the gateway drains.
func isDraining(r reply) bool {
	return r.status == http.StatusServiceUnavailable && r.json["status"] == "draining"
}

// awaitBalance waits until the balance of the account comes from the source.
func (w *world) awaitBalance(account, token, source string) reply {
	w.Helper()
	ask := func() reply { return w.get(w.balanceURL(account), token) }
	return w.awaitReply("balance from "+source, ask, func(r reply) bool {
		return r.status == http.StatusOK && r.source() == source
	})
}

// awaitAvailable waits until the available balance of the account is as wanted and comes from the
// source.
func (w *world) awaitAvailable(account, token, source string, available int64) {
	w.Helper()
	ask := func() reply { return w.get(w.balanceURL(account), token) }
	w.awaitReply("balance from "+source, ask, func(r reply) bool {
		isWanted := r.source() == source && r.json["availableBalance"] == float64(available)
		return r.status == http.StatusOK && isWanted
	})
}
