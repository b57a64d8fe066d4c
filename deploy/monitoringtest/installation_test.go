package monitoringtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
)

const (
	secret   = "a-secret-of-tests-with-more-than-32-bytes"
	patience = 2 * time.Minute // for anything; the machines of tests are often slow
)

// An installation is a core, a gateway and a subscriber on a Redis of their own, and a store with
// their metrics.
type installation struct {
	*testing.T
	*store
	directory string // of the programs
	redis     *testenv.Server
	env       []string // of the programs
	tokenFile string   // the gateway's token for the core
	core      *target
	gateway   *target
	targets   []*target
	keys      int // idempotency keys so far
}

// A target is a process that the store scrapes.
type target struct {
	job     string
	http    string // address for clients
	metrics string // address with /metrics
	process *testenv.Process
}

// startInstallation starts the programs. The gateway's token for the core has the wrong scope.
func startInstallation(t *testing.T) *installation {
	t.Helper()
	in := &installation{T: t, store: newStore(t), redis: testenv.RedisServer(t)}
	directory := t.TempDir()
	in.directory = directory
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", directory, "./cmd/core", "./cmd/gateway", "./examples/analytics")
	build.Dir = root
	output, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	in.env = []string{
		"REALTIME_JWT_HS256_SECRET=" + secret,
		"REALTIME_DATABASE_URL=sqlite:" + filepath.Join(directory, "ledger.db"),
		"REDIS_URL=" + in.redis.URL(),
	}
	program := func(name string) string { return filepath.Join(directory, name) }
	migrate := exec.CommandContext(t.Context(), program("core"), "migrate", "up")
	migrate.Env = append(os.Environ(), in.env...)
	output, err = migrate.CombinedOutput()
	if err != nil {
		t.Fatalf("core migrate up: %v\n%s", err, output)
	}

	in.core = &target{job: "core", http: testenv.FreeAddr(t), metrics: testenv.FreeAddr(t)}
	in.startCore()
	in.tokenFile = filepath.Join(directory, "core-token")
	in.writeToken(auth.ScopeHold, 0, time.Hour)
	in.gateway = in.startGateway(program("gateway"))
	subscriber := &target{job: "analytics", metrics: testenv.FreeAddr(t)}
	subscriber.process = testenv.StartProcess(t, directory, program("analytics"), []string{"--listen", subscriber.metrics}, in.env)
	in.targets = []*target{in.core, in.gateway, subscriber}
	t.Cleanup(func() {
		for _, p := range in.targets {
			p.process.Kill()
			if t.Failed() {
				t.Logf("%s wrote:\n%s", p.job, p.process.Output())
			}
		}
	})
	return in
}

// startCore starts the core, also again after it was killed.
func (in *installation) startCore() {
	in.Helper()
	in.core.process = testenv.StartProcess(in.T, in.directory, filepath.Join(in.directory, "core"),
		[]string{"serve", "--http", in.core.http, "--admin", in.core.metrics}, in.env)
}

// startGateway starts a gateway with a program that takes the arguments of gateway. It is not scraped.
func (in *installation) startGateway(program string, args ...string) *target {
	in.Helper()
	g := &target{job: "gateway", http: testenv.FreeAddr(in), metrics: testenv.FreeAddr(in)}
	args = append(args, "serve", "--http", g.http, "--admin", g.metrics,
		"--core-url", "http://"+in.core.http, "--core-token-file", in.tokenFile)
	g.process = testenv.StartProcess(in.T, in.directory, program, args, in.env)
	return g
}

// writeToken replaces the file with the gateway's token, as docs/gateway.md says. The token has an
// age and some time left.
func (in *installation) writeToken(scope string, age, left time.Duration) {
	in.Helper()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub":   "gateway",
		"scope": scope,
		"iat":   time.Now().Add(-age).Unix(),
		"exp":   time.Now().Add(left).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		in.Fatal(err)
	}
	err = os.WriteFile(in.tokenFile+".new", []byte(raw), 0o600)
	if err != nil {
		in.Fatal(err)
	}
	err = os.Rename(in.tokenFile+".new", in.tokenFile)
	if err != nil {
		in.Fatal(err)
	}
}

func (in *installation) sign(subject, scope string, ttl time.Duration) string {
	in.Helper()
	raw, err := auth.Sign([]byte(secret), auth.Request{Subject: subject, Scopes: strings.Fields(scope), TTL: ttl})
	if err != nil {
		in.Fatal(err)
	}
	return raw
}

// waitUntil scrapes and checks the condition until it holds.
func (in *installation) waitUntil(what string, holds func() bool) {
	in.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	started := time.Now()
	end := started.Add(patience)
	for {
		in.scrape()
		if holds() {
			in.Logf("after %v: %s", time.Since(started).Round(time.Second/10), what)
			return
		}
		if time.Now().After(end) {
			in.Fatalf("not within %v: %s", patience, what)
		}
		<-tick.C
	}
}

// scrape adds the metrics of all targets to the store, and up.
func (in *installation) scrape() {
	in.Helper()
	now := time.Now()
	for _, p := range in.targets {
		vector, err := p.readMetrics(in.Context(), now)
		up := 1.0
		if err != nil {
			up = 0
		}
		in.add(labels.FromStrings(model.MetricNameLabel, "up", "job", p.job, "instance", p.metrics), now, up)
		for _, v := range vector {
			b := labels.NewBuilder(labels.EmptyLabels())
			for name, value := range v.Metric {
				b.Set(string(name), string(value))
			}
			in.add(b.Set("job", p.job).Set("instance", p.metrics).Labels(), now, float64(v.Value))
		}
	}
}

func (p *target) readMetrics(ctx context.Context, now time.Time) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	var all model.Vector
	for _, f := range families {
		v, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(now.UnixNano())}, f)
		if err != nil {
			return nil, err
		}
		all = append(all, v...)
	}
	return all, nil
}

// post calls the core and checks the status.
func (in *installation) post(wantStatus int, path, body string) {
	in.Helper()
	ctx, cancel := context.WithTimeout(in.Context(), patience)
	defer cancel()
	in.keys++
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+in.core.http+path, strings.NewReader(body))
	if err != nil {
		in.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+in.sign("shop", "wallet:credit wallet:hold wallet:read", time.Hour))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", fmt.Sprint("k", in.keys))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		in.Fatal(err)
	}
	if resp.StatusCode != wantStatus {
		in.Fatalf("POST %s: got status %d, want %d: %s", path, resp.StatusCode, wantStatus, answer)
	}
}

func (in *installation) credit() {
	in.Helper()
	in.post(http.StatusCreated, "/v1/accounts/user:u1/credits", `{"amount":5,"reason":"some_reason"}`)
}

// openEvents connects a client to the gateway, which stays connected until the test ends.
func (in *installation) openEvents() {
	in.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+in.gateway.http+"/v1/events", nil)
	if err != nil {
		in.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+in.sign("user:u1", "", time.Hour))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.Fatal(err)
	}
	in.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		in.Fatalf("GET /v1/events: got status %d, want 200", resp.StatusCode)
	}
}
