package chaos

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// readyGrace is how long a program may say ready while it does not serve.
const readyGrace = 20 * time.Second

// monitor asks each program at short intervals whether it is ready, and whether it serves a request.
type monitor struct {
	e       *episode
	cancel  context.CancelFunc
	watches sync.WaitGroup

	mu      sync.Mutex // protects longest
	longest time.Duration
}

// startMonitor watches all programs, without proxies between.
func (e *episode) startMonitor() *monitor {
	ctx, cancel := context.WithCancel(context.Background())
	m := &monitor{e: e, cancel: cancel}
	for i, core := range e.w.cores {
		n := 0
		m.watches.Go(func() {
			m.watch(ctx, core, func(ctx context.Context) bool {
				n++
				_, ok := e.load.credit(ctx, core, probeAccounts[i], fmt.Sprint(probePrefix, core.name, "-", n))
				return ok
			})
		})
	}
	for i, gateway := range e.w.gateways {
		m.watches.Go(func() {
			m.watch(ctx, gateway, func(context.Context) bool {
				status, _ := e.w.get("http://"+gateway.http+"/v1/accounts/"+probeAccounts[i]+"/balance", e.load.token, 3*time.Second)
				return status == http.StatusOK
			})
		})
	}
	e.w.Cleanup(m.stop)
	return m
}

// stop ends the monitor. It may be called twice.
func (m *monitor) stop() {
	m.cancel()
	m.watches.Wait()
}

// watch compares what /readyz says with what the program does.
func (m *monitor) watch(ctx context.Context, p *program, serves func(context.Context) bool) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var wrongSince time.Time
	isReported := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r := p.readReadiness(3 * time.Second)
		callCtx, cancel := context.WithTimeout(ctx, 3*time.Second)
		isServing := serves(callCtx)
		cancel()
		isWrong := r.saysAllWorks() && !isServing
		switch {
		case !isWrong:
			wrongSince = time.Time{}
			isReported = false
			continue
		case wrongSince.IsZero():
			wrongSince = time.Now()
		}
		m.keepLongest(time.Since(wrongSince))
		if time.Since(wrongSince) > readyGrace && !isReported && ctx.Err() == nil {
			isReported = true
			m.e.w.journal.violate("%s says for %s that it is ready, but serves nothing: %s", p.name, readyGrace, r.text)
		}
	}
}

func (m *monitor) keepLongest(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.longest = max(m.longest, d)
}

// footprint is the size of a program.
type footprint struct {
	goroutines float64
	heap       float64 // bytes
}

// measurePrograms measures all programs after a garbage collection.
func (e *episode) measurePrograms() map[string]footprint {
	sizes := map[string]footprint{}
	for _, p := range e.w.programs() {
		sizes[p.name] = e.w.measure(p)
	}
	return sizes
}

func (w *world) measure(p *program) footprint {
	w.get("http://"+p.admin+"/debug/pprof/heap?gc=1", w.adminToken(), 10*time.Second)
	_, metrics := w.get("http://"+p.admin+"/metrics", "", 10*time.Second)
	return footprint{
		goroutines: findMetric(metrics, "go_goroutines"),
		heap:       findMetric(metrics, "go_memstats_heap_alloc_bytes"),
	}
}

// findMetric returns a metric without labels.
func findMetric(metrics []byte, name string) float64 {
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	for lines.Scan() {
		value, found := strings.CutPrefix(lines.Text(), name+" ")
		if found {
			n, _ := strconv.ParseFloat(value, 64) // Prometheus writes numbers
			return n
		}
	}
	return 0
}

// checkPrograms wants the goroutines and the memory of each program to return to what they were with
// the same clients. What a program may keep (recent events, cached balances, buffers of connections)
// is far less than the allowance.
func (e *episode) checkPrograms(before map[string]footprint) {
	const goroutines, heap = 60, 48 << 20
	for _, p := range e.w.programs() {
		var now footprint
		old := before[p.name]
		isSmall := e.w.waitUntil("the goroutines of "+p.name+" return", func() bool {
			now = e.w.measure(p)
			return now.goroutines > 0 && now.goroutines <= old.goroutines+goroutines
		})
		if !isSmall || now.heap > old.heap+heap {
			e.w.journal.violate("%s has %+v, but had %+v at the start", p.name, now, old)
		}
	}
}
