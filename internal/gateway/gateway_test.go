package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreclient"
	"github.com/redroomrewards/realtime/internal/gateway"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
	"github.com/redroomrewards/realtime/pkg/ws"
)

func TestReadinessNamesChecks(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	checks := w.awaitReady().checks()
	for _, name := range []string{"redis", "streams", "core"} {
		if checks[name] != "ok" {
			t.Errorf("check %s: got %v, want ok", name, checks[name])
		}
	}
	w.get(w.admin+"/healthz", "").expectStatus(t, http.StatusOK)
}

func TestReadinessIsDegradedWithoutCore(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	w.core.Close()
	w.awaitReadiness("degraded", func(r reply) bool {
		return r.status == http.StatusOK && r.json["status"] == "degraded"
	})
}

func TestAdminStats(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	url := w.admin + "/admin/stats"
	r := w.get(url, w.signToken("ops", auth.ScopeAdmin))
	r.expectStatus(t, http.StatusOK)
	r.expectJSON(t, "connections", 0.0)
	w.get(url, w.signToken("app", auth.ScopeRead)).expectStatus(t, http.StatusForbidden)
	w.get(url, "").expectStatus(t, http.StatusUnauthorized)
}

// While the gateway drains, /readyz answers 503 and clients are still served.
func TestDrain(t *testing.T) {
	w := newWorld(t, gateway.Config{DrainDelay: 300 * time.Millisecond})
	w.awaitReady()
	wait := w.stopInBackground()
	w.awaitReadiness("draining", isDraining)
	w.get(w.balanceURL("user:u1"), w.signToken("user:u1", "")).expectStatus(t, http.StatusNotFound)
	wait()
}

func TestNewRefusesOtherLayout(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	core, err := coreclient.New(w.core.URL, "x", coreclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = redisconn.CheckLayout(t.Context(), w.rdb, w.keys)
	if err != nil {
		t.Fatal(err)
	}
	keys := w.keys
	keys.Partitions = 8
	_, err = gateway.New(t.Context(), w.rdb, core, w.verifier, gateway.Config{Keys: keys, Logger: discardLog})
	if err == nil || !strings.Contains(err.Error(), "--partitions 8") {
		t.Errorf("error: got %v, want one that names --partitions 8", err)
	}
}

// A gateway whose namespace is not that of the core is not ready, since it would never deliver an
// event.
func TestOtherNamespaceIsNotReady(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	w.awaitReady()
	coreKeys := w.keys.String()
	w.keys.Namespace += "-typo"
	w.startGateway(gateway.Config{})
	w.awaitReadiness("not ready", func(r reply) bool {
		streams, _ := r.checks()["streams"].(string)
		namesBoth := strings.Contains(streams, coreKeys) && strings.Contains(streams, w.keys.String())
		return r.status == http.StatusServiceUnavailable && namesBoth
	})
}

// A gateway that starts before its Redis waits for it.
func TestStartBeforeRedis(t *testing.T) {
	srv := testenv.RedisServer(t)
	srv.Kill()
	w := newWorldOn(t, srv.URL(), bus.Keys{}, gateway.Config{Hub: ws.Config{FetchTimeout: 100 * time.Millisecond}})
	r := w.get(w.admin+"/readyz", "")
	r.expectStatus(t, http.StatusServiceUnavailable)
	r.expectJSON(t, "status", "not_ready")

	// A subscription to all accounts would miss the events of the streams that were not read yet.
	token := w.signToken("feed", auth.ScopeEvents)
	c := &frameReader{w: w, conn: w.dialSocket(t, http.Header{"Authorization": {"Bearer " + token}})}
	c.expectFrame("welcome")
	c.send(`{"op":"subscribe","sub":"all","accounts":["*"]}`)
	c.expectFrame("error")

	// Without Redis every balance comes from the core.
	own := w.signToken("user:u1", "")
	for n, key := range []string{"k1", "k2"} {
		w.creditPoints("user:u1", 5, key)
		r := w.get(w.balanceURL("user:u1"), own)
		r.expectStatus(t, http.StatusOK)
		r.expectHeader(t, "X-Balance-Source", "core")
		r.expectJSON(t, "availableBalance", float64(5*(n+1)))
	}
	srv.Start()
	w.awaitReady()

	c.send(`{"op":"subscribe","sub":"all","accounts":["*"]}`)
	c.expectFrame("subscribed")
	w.creditPoints("user:u1", 5, "k3")
	for c.expectFrame("event").Seq != 3 { // Redis may get the first two only now
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	w := newWorld(t, gateway.Config{})
	testenv.CheckMetrics(t, w.running.Registry(), "Both programs", "Gateway")
}
