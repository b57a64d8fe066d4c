package chaos

import (
	"net/http"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/testenv"
)

// patience bounds every wait. A loaded machine is slow, but not broken, so it is far longer than any
// recovery takes.
const patience = 90 * time.Second

const secret = "a-secret-of-tests-with-more-than-32-bytes"

const namespace = "chaos"

// world is everything that runs in an episode.
type world struct {
	*testing.T
	journal *journal

	cores    []*program
	gateways []*program
	links    []*link // all proxies

	database *database
	redis    *redisSystem
	http     *http.Client
}

// link is a proxy between two parts of the world.
type link struct {
	name  string // from and to, such as "core-0 to redis"
	proxy *testenv.Proxy
}

// newWorld starts all servers and programs, and returns when the programs are ready.
func newWorld(t *testing.T, j *journal, form string) *world {
	t.Helper()
	w := &world{T: t, journal: j}
	transport := &http.Transport{
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       2 * time.Second, // as in internal/e2e
		ResponseHeaderTimeout: patience,
	}
	w.http = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	w.database = w.newDatabase()
	w.redis = w.newRedis(form)
	for _, name := range []string{"core-0", "core-1"} {
		w.cores = append(w.cores, w.newCore(name))
	}
	for i, name := range []string{"gateway-0", "gateway-1"} {
		w.gateways = append(w.gateways, w.newGateway(name, w.cores[i]))
	}
	for _, p := range w.programs() {
		p.start()
	}
	for _, p := range w.programs() {
		p.waitUntilReady()
	}
	return w
}

func (w *world) programs() []*program {
	return append(w.cores[:len(w.cores):len(w.cores)], w.gateways...)
}

// addLink starts a proxy to an address and returns the address of the proxy.
func (w *world) addLink(name, target string) string {
	w.Helper()
	return w.newLink(name, target).proxy.Addr()
}

func (w *world) newLink(name, target string) *link {
	w.Helper()
	l := &link{name: name, proxy: testenv.NewProxy(w, target)}
	w.links = append(w.links, l)
	return l
}

func (w *world) newCore(name string) *program {
	p := w.newProgram(name, "core")
	p.args = append(p.args,
		"--database-url", pointsURL(w.addLink(name+" to postgres", w.database.primary.Addr())),
		"--redis-url", w.redis.urlFor(name),
	)
	return p
}

func (w *world) newGateway(name string, core *program) *program {
	p := w.newProgram(name, "gateway")
	p.args = append(p.args,
		"--core-url", "http://"+w.addLink(name+" to "+core.name, core.http),
		"--redis-url", w.redis.urlFor(name),
		"--drain-window", "500ms",
		"--name", name,
	)
	p.env = append(p.env, "REALTIME_CORE_TOKEN="+w.signToken("gateway", time.Hour, nil, auth.ScopeRead))
	return p
}

// adminToken returns a token for the admin listeners.
func (w *world) adminToken() string { return w.signToken("ops", time.Hour, nil, auth.ScopeAdmin) }

func (w *world) signToken(subject string, ttl time.Duration, accounts []string, scopes ...string) string {
	token, err := auth.Sign([]byte(secret), auth.Request{Subject: subject, Accounts: accounts, Scopes: scopes, TTL: ttl})
	if err != nil {
		panic(err) // the arguments of the callers are constant
	}
	return token
}

// waitUntil waits until a condition holds that nothing signals. It reports a violation and returns
// false if that takes longer than patience. It is called by the test's goroutine only.
func (w *world) waitUntil(condition string, holds func() bool) bool {
	return w.waitWithin(patience, condition, holds)
}

func (w *world) waitWithin(limit time.Duration, condition string, holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !holds(); {
		if time.Now().After(deadline) {
			w.journal.violate("not within %s: %s", limit, condition)
			return false
		}
		w.supervise()
		<-tick.C
	}
	return true
}
