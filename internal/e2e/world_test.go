package e2e

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/internal/testenv/ledgerdb"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// patience bounds every wait: far more than anything takes on a busy machine.
const patience = time.Minute

const secret = "a-secret-of-tests-with-more-than-32-bytes"

// world is a database and a Redis namespace, with the programs that run on them.
type world struct {
	*testing.T
	databaseURL, redisURL, namespace string

	// What the test itself looks at servers with, past all proxies.
	db   *sql.DB
	rdb  redis.UniversalClient
	http *http.Client
}

// newWorld uses the shared Redis.
func newWorld(t *testing.T) *world {
	t.Helper()
	url, namespace := testenv.Redis(t)
	return newWorldOn(t, url, namespace)
}

func newWorldOn(t *testing.T, redisURL, namespace string) *world {
	t.Helper()
	w := &world{T: t, databaseURL: ledgerdb.Postgres(t), redisURL: redisURL, namespace: namespace}
	var err error
	if w.db, err = sql.Open("postgres", w.databaseURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	if w.rdb, err = redisconn.Open(redisURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.rdb.Close() })
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	w.http = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return w
}

// server is a core or a gateway; it keeps its addresses when it is started again.
type server struct {
	w           *world
	program     string
	http, admin string
	process     *testenv.Process
}

// core starts a core on the world's servers; flags win over that.
func (w *world) core(flags ...string) *server {
	w.Helper()
	s := &server{w: w, program: "core", http: testenv.FreeAddr(w), admin: testenv.FreeAddr(w)}
	s.start(flags...)
	return s
}

// gateway starts a gateway that asks the core at coreURL; flags win over that.
func (w *world) gateway(coreURL string, flags ...string) *server {
	w.Helper()
	s := &server{w: w, program: "gateway", http: testenv.FreeAddr(w), admin: testenv.FreeAddr(w)}
	s.start(append([]string{"--core-url", coreURL}, flags...)...)
	return s
}

func (s *server) url() string { return "http://" + s.http }

// start runs the program and returns when it is ready. What it leaves in its log must name no race and no panic.
func (s *server) start(flags ...string) {
	s.w.Helper()
	args := []string{
		"serve", "--http", s.http, "--admin", s.admin, "--redis-url", s.w.redisURL, "--namespace", s.w.namespace,
		"--log-format", "text",
	}
	env := []string{"JWT_HS256_SECRET=" + secret}
	if s.program == "core" {
		args = append(args, "--database-url", s.w.databaseURL)
	} else {
		env = append(env, "CORE_TOKEN="+s.w.token("gateway", nil, auth.ScopeRead))
	}
	p := testenv.StartProcess(s.w, s.w.TempDir(), filepath.Join(programs, s.program), append(args, flags...), env)
	s.process = p
	s.w.Cleanup(func() {
		p.Kill()
		output := p.Output()
		if strings.Contains(output, "DATA RACE") || strings.Contains(output, "panic") {
			s.w.Errorf("%s broke:\n%s", s.program, output)
		} else if s.w.Failed() {
			s.w.Logf("%s on %s wrote:\n%s", s.program, s.http, tail(output, 8<<10))
		}
	})
	s.w.eventually(s.program+" is ready", func() bool {
		select {
		case <-p.Exited():
			s.w.Fatalf("%s ended while starting:\n%s", s.program, p.Output())
		default:
		}
		return s.ready()
	})
}

func (s *server) ready() bool {
	resp, err := s.w.http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the program as an operator does, and wants exit code 0.
func (s *server) stop() {
	s.w.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		s.w.Fatalf("stop %s: %v", s.program, err)
	}
	select {
	case <-s.process.Exited():
	case <-time.After(patience):
		s.w.Fatalf("%s does not stop", s.program)
	}
	s.w.http.CloseIdleConnections()
	if code := s.process.ExitCode(); code != 0 {
		s.w.Errorf("%s stopped with exit code %d", s.program, code)
	}
}

// kill is kill -9.
func (s *server) kill() {
	s.process.Kill()
	s.w.http.CloseIdleConnections()
}

func (w *world) token(sub string, accounts []string, scopes ...string) string {
	w.Helper()
	raw, err := auth.Sign([]byte(secret), auth.Request{Subject: sub, Accounts: accounts, Scopes: scopes, TTL: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	return raw
}

// eventually waits until a condition holds that nothing signals.
func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", patience, what)
		}
		<-tick.C
	}
}

// through returns a URL that leads to its server by way of the proxy.
func (w *world) through(p *testenv.Proxy, raw string) string {
	w.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		w.Fatal(err)
	}
	u.Host = p.Addr()
	return u.String()
}

// proxy is a network link to the server of a URL.
func (w *world) proxy(raw string) *testenv.Proxy {
	w.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		w.Fatal(err)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"postgres": "5432", "redis": "6379"}[u.Scheme])
	}
	return testenv.NewProxy(w, host)
}

// count runs a query that answers one number.
func (w *world) count(query string, args ...any) (n int64) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if err := w.db.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	return n
}

// outbox counts committed transactions that the core does not yet know to be published.
func (w *world) outbox() int64 {
	w.Helper()
	return w.count(`SELECT count(*) FROM outbox`)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
