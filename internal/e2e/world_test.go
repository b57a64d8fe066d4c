package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// patience bounds every wait. It is far longer than any operation takes on a busy machine.
const patience = 5 * time.Minute

const secret = "a-secret-of-tests-with-more-than-32-bytes"

// world is a database and a Redis namespace, with the programs that run on them.
type world struct {
	*testing.T
	databaseURL string
	redisURL    string
	namespace   string

	tagsMu sync.Mutex // protects tags
	tags   []string   // hash tags of the partitions; nil until readTags

	// The test's own connections, which use no proxy.
	db   *sql.DB
	rdb  redis.UniversalClient
	http *http.Client

	listeners sync.Map // names of the servers' listeners, by their addresses
}

// newWorld returns a world on the shared Redis.
func newWorld(t *testing.T) *world {
	t.Helper()
	redisURL, namespace := testenv.Redis(t)
	return newWorldOn(t, redisURL, namespace)
}

func newWorldOn(t *testing.T, redisURL, namespace string) *world {
	t.Helper()
	return newWorldWith(t, ledgerdb.Postgres(t), redisURL, namespace)
}

// newWorldWith returns a world on a migrated database.
func newWorldWith(t *testing.T, databaseURL, redisURL, namespace string) *world {
	t.Helper()
	w := &world{T: t, databaseURL: databaseURL, redisURL: redisURL, namespace: namespace}
	var err error
	w.db, err = sql.Open("postgres", w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.rdb, err = redisconn.Open(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.rdb.Close() })
	transport := &http.Transport{
		MaxIdleConnsPerHost: 64,
		// The programs close a connection on which nothing was sent for 5 s. A write at that moment
		// would get no answer.
		IdleConnTimeout: 2 * time.Second,
	}
	w.http = &http.Client{Transport: w.compareWithDocuments(transport), Timeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return w
}

// server is a core or a gateway. It keeps its addresses when it is started again.
type server struct {
	w       *world
	program string
	http    string
	admin   string
	process *testenv.Process
}

// newServer returns a server with free addresses. The process is not started.
func (w *world) newServer(program string) *server {
	w.Helper()
	s := &server{w: w, program: program, http: testenv.FreeAddr(w), admin: testenv.FreeAddr(w)}
	w.listeners.Store(s.http, program)
	w.listeners.Store(s.admin, program+" admin")
	return s
}

// startCore starts a core on the world's servers. The flags override the default ones.
func (w *world) startCore(flags ...string) *server {
	w.Helper()
	s := w.newServer("core")
	s.startProcess(flags...)
	return s
}

// startGateway starts a gateway of the core at coreURL. The flags override the default ones.
func (w *world) startGateway(coreURL string, flags ...string) *server {
	w.Helper()
	s := w.newServer("gateway")
	s.startProcess(append([]string{"--core-url", coreURL}, flags...)...)
	return s
}

func (s *server) baseURL() string { return "http://" + s.http }

// startProcess runs the program and returns when it is ready.
func (s *server) startProcess(flags ...string) {
	s.w.Helper()
	s.launchProcess(flags...)
	s.waitUntilReady()
}

// launchProcess runs the program. The test fails if the program's output reports a data race or a
// panic.
func (s *server) launchProcess(flags ...string) {
	s.w.Helper()
	args := []string{
		"serve",
		"--http", s.http,
		"--admin", s.admin,
		"--redis-url", s.w.redisURL,
		"--namespace", s.w.namespace,
		"--log-format", "text",
	}
	env := []string{"REALTIME_JWT_HS256_SECRET=" + secret}
	if s.program == "core" {
		args = append(args, "--database-url", s.w.databaseURL)
	} else {
		env = append(env, "REALTIME_CORE_TOKEN="+s.w.signToken("gateway", nil, auth.ScopeRead))
	}
	program := filepath.Join(programs, s.program)
	s.process = testenv.StartProcess(s.w, s.w.TempDir(), program, append(args, flags...), env)
	s.checkOutputAtCleanup()
}

func (s *server) checkOutputAtCleanup() {
	process := s.process // a restart replaces it
	s.w.Cleanup(func() {
		process.Kill()
		output := process.Output()
		if strings.Contains(output, "DATA RACE") || strings.Contains(output, "panic") {
			s.w.Errorf("%s had a data race or a panic:\n%s", s.program, output)
		} else if s.w.Failed() {
			s.w.Logf("%s on %s wrote:\n%s", s.program, s.http, lastBytes(output, 8<<10))
		}
	})
}

func (s *server) waitUntilReady() {
	s.w.Helper()
	s.w.waitUntil(s.program+" is ready", func() bool {
		select {
		case <-s.process.Exited():
			s.w.Fatalf("%s ended while starting:\n%s", s.program, s.process.Output())
		default:
		}
		return s.isReady()
	})
}

func (s *server) isReady() bool {
	resp, err := s.w.http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stopProcess stops the program as an operator does. Its exit code must be 0.
func (s *server) stopProcess() {
	s.w.Helper()
	err := s.process.Signal(syscall.SIGTERM)
	if err != nil {
		s.w.Fatalf("stop %s: %v", s.program, err)
	}
	select {
	case <-s.process.Exited():
	case <-time.After(patience):
		s.w.Fatalf("%s did not stop within %s", s.program, patience)
	}
	s.w.http.CloseIdleConnections()
	if code := s.process.ExitCode(); code != 0 {
		s.w.Errorf("exit code of %s: got %d, want 0", s.program, code)
	}
}

// killProcess ends the program as kill -9 does.
func (s *server) killProcess() {
	s.process.Kill()
	s.w.http.CloseIdleConnections()
}

func (w *world) signToken(subject string, accounts []string, scopes ...string) string {
	w.Helper()
	token, err := auth.Sign([]byte(secret), auth.Request{Subject: subject, Accounts: accounts, Scopes: scopes, TTL: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// waitUntil waits until a condition holds that nothing signals.
func (w *world) waitUntil(condition string, holds func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", patience, condition)
		}
		<-tick.C
	}
}

// startProxy starts a proxy to the server of a URL, and returns the URL that leads through the
// proxy.
func (w *world) startProxy(serverURL string) (*testenv.Proxy, string) {
	w.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		w.Fatal(err)
	}
	host := u.Host
	if u.Port() == "" {
		defaultPorts := map[string]string{"postgres": "5432", "redis": "6379"}
		host = net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
	}
	proxy := testenv.NewProxy(w, host)
	u.Host = proxy.Addr()
	return proxy, u.String()
}

// queryInt runs a query that returns one number.
func (w *world) queryInt(query string, args ...any) int64 {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	var n int64
	err := w.db.QueryRowContext(ctx, query, args...).Scan(&n)
	if err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	return n
}

// countOutbox counts the transactions that are committed, but not yet marked as published.
func (w *world) countOutbox() int64 {
	w.Helper()
	return w.queryInt(`SELECT count(*) FROM outbox`)
}

// waitUntilPublished waits until the present transactions are published. Others may follow meanwhile.
func (w *world) waitUntilPublished() {
	w.Helper()
	newest := w.queryInt(`SELECT coalesce(max(id), 0) FROM outbox`)
	w.waitUntil("the outbox has only new rows", func() bool {
		return w.queryInt(`SELECT count(*) FROM outbox WHERE id <= $1`, newest) == 0
	})
}

// readMetric returns the value of a metric with its labels. It is 0 if the server does not export
// it.
func (w *world) readMetric(s *server, name string) float64 {
	w.Helper()
	metrics := w.getBody("http://"+s.admin+"/metrics", "", http.StatusOK)
	for line := range strings.Lines(string(metrics)) {
		value, found := strings.CutPrefix(line, name+" ")
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			w.Fatalf("metric %s: %v", line, err)
		}
		return n
	}
	return 0
}

// checkEqual names the value that differs from the expected one.
func checkEqual[T comparable](t testing.TB, name string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func (w *world) decodeObject(raw []byte) object {
	w.Helper()
	var o object
	err := json.Unmarshal(raw, &o)
	if err != nil {
		w.Fatalf("decode %s: %v", raw, err)
	}
	return o
}

// lastBytes returns at most the last n bytes of a text.
func lastBytes(text string, n int) string { return text[max(0, len(text)-n):] }
