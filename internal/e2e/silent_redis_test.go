package e2e

import (
	"slices"
	"testing"
	"time"
)

// TestRedisFallsSilent makes the connections of a core and a gateway to Redis silent under load,
// without closing them: first the present ones, then all of them, also new ones.
func TestRedisFallsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, proxyURL := w.startProxy(w.redisURL)
	core := w.startCore("--redis-url", proxyURL)
	gateway := w.startGateway(core.baseURL(), "--redis-url", proxyURL)
	servers := []*server{core, gateway}
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models, []string{"user:quiet"})
	c := w.startClient("app", servers[1:], accounts...)
	l := w.startLoad(4, []*api{a}, users, models)
	l.waitForWrites(50)
	var observers []*readinessObserver
	for _, s := range servers {
		observers = append(observers, s.observeReadiness())
	}

	proxy.SilenceLinks()
	start := time.Now()
	a.mustDo(newCredit("user:quiet", 5))
	w.waitForHashSeq("user:quiet", 1)
	took := time.Since(start)
	if took > maxSilence {
		t.Errorf("the event was published after the present connections fell silent: want it within %v, got it after %v", maxSilence, took)
	}
	for _, s := range servers {
		w.waitUntilReadyz(s, "ready", "")
	}

	proxy.PauseRequests()
	proxy.PauseReplies()
	w.waitUntilReadyz(core, "degraded", "redis")
	w.waitUntilReadyz(gateway, "not_ready", "redis")
	l.waitForWrites(50)
	proxy.Cut() // what is held back is lost
	proxy.Resume()
	for i, s := range servers {
		w.waitUntilReadyz(s, "ready", "")
		observers[i].stopObserver()
		if slowest := observers[i].slowest; slowest > maxReadyz {
			t.Errorf("slowest answer of the %s's /readyz: got %v, want at most %v", s.program, slowest, maxReadyz)
		}
	}
	l.checkNoneFailed()
	w.checkAgreement(a, w.newStreamReader(), accounts, c)
}
