package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/auth"
)

var soak = flag.Duration("soak", 0, "how long TestSoak lasts, with 5,000 connections; 0: for a moment, with 100")

// TestSoak has connections come and go, by both doors, politely or not, while operations go on. When all are gone, the
// gateway has as much memory and as many goroutines as before, besides its memory of recent events.
func TestSoak(t *testing.T) {
	connections, lasts := 100, 5*time.Second
	if *soak > 0 {
		connections, lasts = 5000, *soak
	} else {
		t.Parallel()
	}
	w := newWorld(t)
	core := w.core()
	g := w.gateway(core.url())
	a := w.api(core)
	s := &soaking{w: w, g: g, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	for i := range 200 {
		account := fmt.Sprintf("user:u%d", i)
		s.accounts = append(s.accounts, account)
		s.tokens = append(s.tokens, w.token(account, nil))
		a.do(credit(account, 1))
	}
	s.round(min(connections, 500), time.Second) // what is made once and kept
	before := s.measure()

	var load sync.WaitGroup
	stop := newSignal()
	load.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop.done:
				return
			case <-tick.C:
				if got, err := a.send(credit(s.accounts[rand.IntN(len(s.accounts))], 1)); err != nil || !got.done() {
					t.Errorf("status %d, %v", got.status, err)
				}
			}
		}
	})
	s.round(connections, lasts)
	stop.give()
	load.Wait()
	after := s.measure()
	t.Logf("%d connections were made, %d frames read; before %+v, after %+v", s.made.Load(), s.frames.Load(), before, after)
	if s.failed.Load() > 0 {
		t.Errorf("%d connections failed, such as: %v", s.failed.Load(), s.failure.Load())
	}
	if after.Goroutines > before.Goroutines+10 {
		t.Errorf("%d goroutines more than before", after.Goroutines-before.Goroutines)
	}
	if grown, limit := after.Heap-before.Heap, int64(8<<20)+2*(after.Memory-before.Memory); grown > limit {
		t.Errorf("the heap grew by %d KiB, at most %d KiB are explained", grown>>10, limit>>10)
	}
}

// soaking is what the connections of TestSoak share.
type soaking struct {
	w        *world
	g        *server
	http     *http.Client
	accounts []string
	tokens   []string

	made, frames, failed atomic.Int64
	failure              atomic.Value
}

// footprint is what a gateway without connections holds.
type footprint struct{ Goroutines, Heap, Memory int64 }

// measure waits until all connections are gone, and for a collection of garbage.
func (s *soaking) measure() footprint {
	s.w.Helper()
	s.w.eventually("all connections are gone", func() bool { return s.w.metric(s.g, "gateway_connections") == 0 })
	resp, err := s.w.http.Get("http://" + s.g.admin + "/debug/pprof/heap?gc=1")
	if err != nil {
		s.w.Fatal(err)
	}
	_ = resp.Body.Close()
	var stats struct{ MemoryBytes int64 }
	if err := json.Unmarshal(s.w.get("http://"+s.g.admin+"/admin/stats", s.w.token("ops", nil, auth.ScopeAdmin), http.StatusOK), &stats); err != nil {
		s.w.Fatal(err)
	}
	// Goroutines of the last requests end a moment later.
	least := int64(1 << 30)
	for range 20 {
		least = min(least, int64(s.w.metric(s.g, "go_goroutines")))
	}
	return footprint{least, int64(s.w.metric(s.g, "go_memstats_heap_alloc_bytes")), stats.MemoryBytes}
}

// round keeps that many connections open for a while, each of them for a part of it.
func (s *soaking) round(connections int, lasts time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var clients sync.WaitGroup
	places := make(chan struct{}, 64) // that many dial at the same time
	for i := range connections {
		clients.Go(func() {
			for ctx.Err() == nil {
				stay := lasts/20 + rand.N(lasts/5)
				s.made.Add(1)
				visit := s.visitWS
				if i%10 == 0 {
					visit = s.visitSSE
				}
				if err := visit(ctx, i, stay, places); err != nil && ctx.Err() == nil {
					s.failed.Add(1)
					s.failure.Store(err.Error())
					return
				}
			}
		})
	}
	clients.Wait()
}

// visitWS subscribes, reads for a while and leaves: with a handshake, or without a word.
func (s *soaking) visitWS(ctx context.Context, i int, stay time.Duration, places chan struct{}) error {
	n := i % len(s.accounts)
	places <- struct{}{}
	dialing, cancel := context.WithTimeout(ctx, patience)
	ws, _, err := websocket.Dial(dialing, s.g.url()+"/v1/ws", &websocket.DialOptions{
		HTTPClient: s.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + s.tokens[n]}}, Subprotocols: []string{"wallet.v1"},
	})
	cancel()
	<-places
	if err != nil {
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"op":"subscribe","sub":"wallet"}`)); err != nil {
		return err
	}
	staying, cancel := context.WithTimeout(ctx, stay)
	defer cancel()
	for {
		_, _, err := ws.Read(staying)
		if staying.Err() != nil {
			if i%3 == 0 {
				_ = ws.Close(websocket.StatusNormalClosure, "") // too late for an answer after a read that was cut off
			}
			return nil
		}
		if err != nil {
			return err
		}
		s.frames.Add(1)
	}
}

func (s *soaking) visitSSE(ctx context.Context, i int, stay time.Duration, places chan struct{}) error {
	n := i % len(s.accounts)
	places <- struct{}{}
	staying, cancel := context.WithTimeout(ctx, stay)
	defer cancel()
	req, err := http.NewRequestWithContext(staying, http.MethodGet, s.g.url()+"/v1/events", nil)
	if err != nil {
		<-places
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.tokens[n])
	resp, err := s.http.Do(req)
	<-places
	if staying.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server-sent events: %s", resp.Status)
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		s.frames.Add(1)
	}
	if staying.Err() == nil {
		return fmt.Errorf("a stream of server-sent events ended")
	}
	return nil
}
