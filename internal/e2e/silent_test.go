package e2e

import (
	"encoding/json"
	"io"
	"slices"
	"sync"
	"testing"
	"time"
)

// The programs promise 10 s and 2 s. The tests allow much more, because they also run on busy machines.
// Without time limits at the sockets, a silence lasts for minutes.
const (
	maxSilence = 40 * time.Second // until writes, or events, go on
	maxReadyz  = 15 * time.Second // until /readyz answers
)

// TestPostgresFallsSilent makes the core's connections to Postgres silent under load, without
// closing them: first the present ones, then all of them, also new ones.
func TestPostgresFallsSilent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, proxyURL := w.startProxy(w.databaseURL)
	core := w.startCore("--database-url", proxyURL)
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	l := w.startLoad(8, []*api{a}, users, models)
	l.waitForWrites(50)
	observed := core.observeReadiness()

	proxy.SilenceLinks()
	start := time.Now()
	l.waitForWrites(20) // the workers may have an answer each that was sent before
	took := time.Since(start)
	t.Logf("writes went on after %v", took.Round(time.Millisecond))
	if took > maxSilence {
		t.Errorf("writes after the present connections fell silent: want them within %v, got them after %v", maxSilence, took)
	}
	if !observed.hasSeen("degraded") && !observed.hasSeen("not_ready") {
		t.Error("/readyz said ready while no write was done")
	}
	w.waitUntilReadyz(core, "ready", "")
	w.waitUntilPublished()
	w.waitForLoops(core, start.Add(took))

	proxy.PauseRequests()
	proxy.PauseReplies()
	w.waitUntilReadyz(core, "not_ready", "database")
	proxy.Cut() // what is held back is lost
	proxy.Resume()
	start = time.Now()
	l.waitForWrites(20)
	took = time.Since(start)
	if took > maxSilence {
		t.Errorf("writes after Postgres was silent also for new connections: want them within %v, got them after %v", maxSilence, took)
	}
	w.waitUntilReadyz(core, "ready", "")
	observed.stopObserver()
	l.waitForWrites(50)
	if observed.slowest > maxReadyz {
		t.Errorf("slowest answer of /readyz: got %v, want at most %v", observed.slowest, maxReadyz)
	}
	l.checkRetries(a)
	w.checkAgreement(a, w.newStreamReader(), slices.Concat(users, models))
}

// waitForLoops waits until each background loop of the core has succeeded after a time.
func (w *world) waitForLoops(core *server, after time.Time) {
	w.Helper()
	for _, loop := range []string{
		`realtime_ledger_loop_last_success_timestamp_seconds{loop="escrow_expiry"}`,
		`realtime_relay_loop_last_success_timestamp_seconds{loop="sweep"}`,
		`realtime_relay_loop_last_success_timestamp_seconds{loop="acknowledge"}`,
		`realtime_relay_loop_last_success_timestamp_seconds{loop="backlog"}`,
		`realtime_relay_loop_last_success_timestamp_seconds{loop="watermarks"}`,
	} {
		w.waitUntil(loop+" grows", func() bool {
			return w.readMetric(core, loop) > float64(after.UnixMilli())/1000
		})
	}
}

// readiness is an answer of /readyz.
type readiness struct {
	Status string
	Checks map[string]string
}

func (s *server) readReadiness() (readiness, error) {
	resp, err := s.w.http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		return readiness{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return readiness{}, err
	}
	var r readiness
	err = json.Unmarshal(body, &r)
	return r, err
}

// waitUntilReadyz waits until /readyz has the status. The failing check, if it is named, must say
// something else than ok.
func (w *world) waitUntilReadyz(s *server, status, failing string) {
	w.Helper()
	w.waitUntil("/readyz says "+status, func() bool {
		r, err := s.readReadiness()
		return err == nil && r.Status == status && (failing == "" || r.Checks[failing] != "ok")
	})
}

// readinessObserver asks for /readyz again and again.
type readinessObserver struct {
	stop chan struct{}
	wg   sync.WaitGroup

	slowest time.Duration // read it after stopObserver

	mu   sync.Mutex // protects seen
	seen []string   // statuses
}

func (s *server) observeReadiness() *readinessObserver {
	s.w.Helper()
	o := &readinessObserver{stop: make(chan struct{})}
	o.wg.Go(func() { o.observe(s) })
	s.w.Cleanup(o.stopObserver)
	return o
}

func (o *readinessObserver) observe(s *server) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-o.stop:
			return
		case <-tick.C:
		}
		start := time.Now()
		r, err := s.readReadiness()
		o.slowest = max(o.slowest, time.Since(start))
		if err != nil {
			s.w.Errorf("GET /readyz: %v", err)
			return
		}
		o.mu.Lock()
		o.seen = append(o.seen, r.Status)
		o.mu.Unlock()
	}
}

func (o *readinessObserver) hasSeen(status string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.seen, status)
}

// stopObserver may be called twice.
func (o *readinessObserver) stopObserver() {
	select {
	case <-o.stop:
	default:
		close(o.stop)
	}
	o.wg.Wait()
}
