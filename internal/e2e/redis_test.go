package e2e

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

var cutOff = flag.Duration("cut-off", 5*time.Second, "how long TestGatewayCutOffFromRedis lasts; the issue names a minute")

// TestRedisRestartsEmpty loses all of Redis while operations go on.
func TestRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.core()
	gateways := []*server{w.gateway(core.url()), w.gateway(core.url())}
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet", "user:quiet2"})
	var clients []*client
	for _, g := range gateways {
		clients = append(clients, w.client("app on "+g.http, []*server{g}, accounts...))
	}
	l := w.load(8, []*api{a}, users, models)
	// These have few events and many, and none while Redis is away.
	l.send(a, credit("user:quiet", 5))
	for range 40 {
		l.send(a, credit("user:quiet2", 5))
	}
	for n := range 2 {
		l.answers(200)
		redis.Kill()
		l.answers(100)
		clients = append(clients, w.client("came without Redis", gateways[n:], accounts...)) // the core tells
		redis.Start()
		l.answers(100)
		clients = append(clients, w.client("came after Redis", gateways, accounts...))
	}
	l.answers(100)
	l.stop()
	if l.refused+l.lost > 0 {
		t.Errorf("writes failed for want of Redis: %s", l)
	}
	l.settle(a)
	stream := w.consumer()
	stream.based = true
	w.eventually("the hashes of quiet accounts are back", func() bool {
		return w.hash("user:quiet")["seq"] == "1" && w.hash("user:quiet2")["seq"] == "40"
	})
	w.allAgree(a, stream, accounts, clients...)
}

// TestRedisFrozen stops Redis for a while: connections stay open and nothing is answered.
func TestRedisFrozen(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	l := w.load(8, []*api{a}, users, models)
	l.answers(100)
	redis.Stop()
	l.answers(500)
	// A client that comes now is served by the core.
	begin := time.Now()
	fresh := w.client("fresh", []*server{gateway}, append(names("user", 25), models...)...)
	took := time.Since(begin)
	t.Logf("a client that came while Redis was frozen was served after %s", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Error("that is too long")
	}
	redis.Continue()
	l.answers(100)
	l.stop()
	if l.refused+l.lost > 0 || l.slowest > 5*time.Second {
		t.Errorf("writes waited for Redis: %s", l)
	}
	l.settle(a)
	w.allAgree(a, w.consumer(), l.accounts(), c, fresh)
}

// TestNetworkToRedis cuts and blocks the links of the core and of the gateway in turn.
func TestNetworkToRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ofCore, ofGateway := w.proxy(w.redisURL), w.proxy(w.redisURL)
	core := w.core("--redis-url", w.through(ofCore, w.redisURL))
	gateway := w.gateway(core.url(), "--redis-url", w.through(ofGateway, w.redisURL))
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	c := w.client("app", []*server{gateway}, slices.Concat(users, models)...)
	stream := w.consumer()
	stop := stream.follow()
	l := w.load(8, []*api{a}, users, models)
	for _, link := range []*testenv.Proxy{ofCore, ofGateway} {
		for _, fail := range []func(){link.Cut, link.PauseReplies, link.PauseRequests} {
			l.answers(30)
			fail()
			l.answers(30)
			link.Cut()
			link.Resume()
		}
	}
	l.answers(30)
	l.stop()
	if l.refused+l.lost > 0 {
		t.Errorf("writes failed for want of Redis: %s", l)
	}
	l.settle(a)
	stop()
	w.allAgree(a, stream, l.accounts(), c)
}

// TestGatewayCutOffFromRedis has the network to one gateway's Redis swallow everything for a while. Its clients get what they
// missed, once and in order; those that come meanwhile are served by the core, and those of the other gateway notice nothing.
func TestGatewayCutOffFromRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	link := w.proxy(w.redisURL)
	far := w.gateway(core.url(), "--redis-url", w.through(link, w.redisURL))
	near := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	accounts := slices.Concat(users, models)
	clients := []*client{w.client("cut off", []*server{far}, accounts...), w.client("not cut off", []*server{near}, accounts...)}
	l := w.load(1, []*api{a}, users, models)
	l.answers(50)
	link.PauseRequests()
	link.PauseReplies()
	over := time.NewTimer(*cutOff)
	defer over.Stop()
	l.answers(20)
	clients = append(clients, w.client("came meanwhile", []*server{far}, accounts...))
	<-over.C
	if codes := clients[1].ended(); len(codes) > 0 {
		t.Errorf("the other gateway's client lost its connection: %v", codes)
	}
	link.Resume()
	l.answers(50)
	clients = append(clients, w.client("came afterwards", []*server{far}, accounts...))
	l.answers(50)
	l.stop()
	if l.refused+l.lost > 0 {
		t.Errorf("writes failed for want of a gateway's Redis: %s", l)
	}
	l.settle(a)
	w.allAgree(a, w.consumer(), accounts, clients...)
}

// TestRedisComesBackOlder has Redis forget its last moments, as a failover to a replica that lags does.
func TestRedisComesBackOlder(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet"})
	c := w.client("app", []*server{gateway}, accounts...)
	l := w.load(8, []*api{a}, users, models)
	for n := range 3 {
		l.answers(50)
		if err := w.rdb.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		l.send(a, credit("user:quiet", 5)) // which Redis forgets, and nothing comes after it
		c.reaches("user:quiet", int64(n+1))
		l.answers(50)
		redis.Kill()
		l.answers(20)
		redis.Start()
		l.answers(50)
	}
	l.settle(a)
	w.eventually("the hash of the quiet account is back", func() bool { return w.hash("user:quiet")["seq"] == "3" })
	w.allAgree(a, w.consumer(), accounts, c)
}

// TestAllButPostgresDies has everything restart at once, with Redis empty.
func TestAllButPostgresDies(t *testing.T) {
	t.Parallel()
	redis := testenv.RedisServer(t)
	w := newWorldOn(t, redis.URL(), "e2e")
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet"})
	c := w.client("app", []*server{gateway}, accounts...)
	l := w.load(8, []*api{a}, users, models)
	l.send(a, credit("user:quiet", 5))
	for range 2 {
		l.answers(100)
		redis.Kill()
		core.kill()
		gateway.kill()
		redis.Start()
		gateway.start("--core-url", core.url())
		core.start()
		l.answers(50)
	}
	l.settle(a)
	stream := w.consumer()
	stream.based = true
	w.eventually("the hash of the quiet account is back", func() bool { return w.hash("user:quiet")["seq"] == "1" })
	w.allAgree(a, stream, accounts, c)
}
