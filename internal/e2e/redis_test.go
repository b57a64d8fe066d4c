package e2e

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

var cutOff = flag.Duration("cut-off", 5*time.Second, "how long TestGatewayCutOffFromRedis lasts")

// TestRedisRestartsEmpty restarts Redis without its data while operations are done.
func TestRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.startCore()
	gateways := []*server{w.startGateway(core.baseURL()), w.startGateway(core.baseURL())}
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet", "user:quiet2"})
	var clients []*rawClient
	for _, g := range gateways {
		clients = append(clients, w.startClient("app on "+g.http, []*server{g}, accounts...))
	}
	l := w.startLoad(8, []*api{a}, users, models)
	// These accounts have few and many events, and none while Redis is down.
	l.doWrite(a, newCredit("user:quiet", 5))
	for range 40 {
		l.doWrite(a, newCredit("user:quiet2", 5))
	}
	for n := range 2 {
		l.waitForWrites(200)
		redis.Kill()
		l.waitForWrites(100)
		clients = append(clients, w.startClient("connected without Redis", gateways[n:], accounts...)) // the core has their snapshots
		redis.Start()
		l.waitForWrites(100)
		clients = append(clients, w.startClient("connected after Redis", gateways, accounts...))
	}
	l.waitForWrites(100)
	l.checkNoneFailed()
	l.checkRetries(a)
	reader := w.newStreamReader()
	reader.redisWasEmptied = true
	w.waitForHashSeq("user:quiet", 1)
	w.waitForHashSeq("user:quiet2", 40)
	w.checkAgreement(a, reader, accounts, clients...)
}

// TestRedisIsSuspended suspends Redis. Its connections stay open, but it does not answer.
func TestRedisIsSuspended(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.startLoad(8, []*api{a}, users, models)
	l.waitForWrites(100)
	redis.Stop()
	l.waitForWrites(200)
	// The core serves a client that connects now.
	start := time.Now()
	fresh := w.startClient("fresh", []*server{gateway}, append(accountNames("user", 25), models...)...)
	duration := time.Since(start).Round(time.Millisecond)
	t.Logf("a client that connected while Redis was suspended was served after %s", duration)
	if duration > 30*time.Second {
		t.Errorf("client that connects while Redis is suspended: got served after %s, want at most 30 s", duration)
	}
	redis.Continue()
	l.waitForWrites(100)
	l.checkNoneFailed()
	if l.slowest > 20*time.Second {
		t.Errorf("slowest write: got %s, want at most 20 s", l.slowest)
	}
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), l.listAccounts(), c, fresh)
}

// TestNetworkToRedisFails cuts and pauses the links of the core and of the gateway in turn.
func TestNetworkToRedisFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	coreLink, coreRedisURL := w.startProxy(w.redisURL)
	gatewayLink, gatewayRedisURL := w.startProxy(w.redisURL)
	core := w.startCore("--redis-url", coreRedisURL)
	gateway := w.startGateway(core.baseURL(), "--redis-url", gatewayRedisURL)
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	c := w.startClient("app", []*server{gateway}, slices.Concat(users, models)...)
	reader := w.newStreamReader()
	stop := reader.followStreams()
	l := w.startLoad(8, []*api{a}, users, models)
	for _, link := range []*testenv.Proxy{coreLink, gatewayLink} {
		for _, fail := range []func(){link.Cut, link.PauseReplies, link.PauseRequests} {
			l.waitForWrites(30)
			fail()
			l.waitForWrites(30)
			link.Cut()
			link.Resume()
		}
	}
	l.waitForWrites(30)
	l.checkNoneFailed()
	l.checkRetries(a)
	stop()
	w.checkAgreement(a, reader, l.listAccounts(), c)
}

// TestGatewayCutOffFromRedis has the network between one gateway and Redis lose everything for a
// while. Its clients get the missed events afterwards, once and in order. The core serves clients
// that connect in between. Clients of the other gateway lose nothing.
func TestGatewayCutOffFromRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	link, redisURL := w.startProxy(w.redisURL)
	cutOffGateway := w.startGateway(core.baseURL(), "--redis-url", redisURL)
	otherGateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models)
	cutOffClient := w.startClient("cut off", []*server{cutOffGateway}, accounts...)
	otherClient := w.startClient("not cut off", []*server{otherGateway}, accounts...)
	l := w.startLoad(1, []*api{a}, users, models)
	l.waitForWrites(50)
	link.PauseRequests()
	link.PauseReplies()
	end := time.NewTimer(*cutOff)
	defer end.Stop()
	l.waitForWrites(20)
	during := w.startClient("connected during the cut", []*server{cutOffGateway}, accounts...)
	<-end.C
	otherClient.checkStayedConnected()
	link.Resume()
	l.waitForWrites(50)
	after := w.startClient("connected after the cut", []*server{cutOffGateway}, accounts...)
	l.waitForWrites(50)
	l.checkNoneFailed()
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), accounts, cutOffClient, otherClient, during, after)
}

// TestRedisRestartsFromAnOldSnapshot has Redis lose its latest writes, as a failover to a replica
// that lags does.
func TestRedisRestartsFromAnOldSnapshot(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet"})
	c := w.startClient("app", []*server{gateway}, accounts...)
	l := w.startLoad(8, []*api{a}, users, models)
	for n := range 3 {
		l.waitForWrites(50)
		if err := w.rdb.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		l.doWrite(a, newCredit("user:quiet", 5)) // Redis loses this event, and no other one follows it
		c.waitForSeq("user:quiet", int64(n+1))
		l.waitForWrites(50)
		redis.Kill()
		l.waitForWrites(20)
		redis.Start()
		l.waitForWrites(50)
	}
	l.checkRetries(a)
	w.waitForHashSeq("user:quiet", 3)
	w.checkAgreement(a, w.newStreamReader(), accounts, c)
}

// TestEverythingButPostgresDies restarts all other processes at once. Redis loses its data.
func TestEverythingButPostgresDies(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet"})
	c := w.startClient("app", []*server{gateway}, accounts...)
	l := w.startLoad(8, []*api{a}, users, models)
	l.doWrite(a, newCredit("user:quiet", 5))
	for range 2 {
		l.waitForWrites(100)
		redis.Kill()
		core.killProcess()
		gateway.killProcess()
		redis.Start()
		gateway.startProcess("--core-url", core.baseURL())
		core.startProcess()
		l.waitForWrites(50)
	}
	l.checkRetries(a)
	reader := w.newStreamReader()
	reader.redisWasEmptied = true
	w.waitForHashSeq("user:quiet", 1)
	w.checkAgreement(a, reader, accounts, c)
}
