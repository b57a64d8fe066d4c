package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/rawclient"
)

var soak = flag.Duration("soak", 0, "how long TestSoak lasts, with 5,000 connections; 0: for a moment, with 100")

// TestSoak has clients connect and disconnect while operations are done. They use WebSocket and
// server-sent events, and close their connections with or without a close frame. Afterwards the
// gateway has as many goroutines as before, and only its memory of recent events has grown.
func TestSoak(t *testing.T) {
	connections := 100
	duration := 5 * time.Second
	if *soak > 0 {
		connections = 5000
		duration = *soak
	} else {
		t.Parallel()
	}
	w := newWorld(t)
	core := w.startCore()
	g := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	transport := &http.Transport{DisableKeepAlives: true}
	s := &soakTest{w: w, gateway: g, http: &http.Client{Transport: transport}}
	for i := range 200 {
		account := fmt.Sprintf("user:u%d", i)
		s.accounts = append(s.accounts, account)
		s.tokens = append(s.tokens, w.signToken(account, nil))
		a.mustDo(newCredit(account, 1))
	}
	s.keepConnections(min(connections, 500), time.Second) // the gateway keeps some buffers
	before := s.measureGateway()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	load.Go(func() { s.creditRandomAccounts(ctx, a) })
	s.keepConnections(connections, duration)
	cancel()
	load.Wait()
	after := s.measureGateway()

	t.Logf("%d connections were made, %d frames read; before %+v, after %+v", s.made.Load(), s.frames.Load(), before, after)
	if failed := s.failed.Load(); failed > 0 {
		t.Errorf("failed connections: got %d, want none; the last one: %v", failed, s.failure.Load())
	}
	if limit := before.goroutines + 10; after.goroutines > limit {
		t.Errorf("goroutines: got %d, want at most %d", after.goroutines, limit)
	}
	growth := after.heap - before.heap
	limit := int64(8<<20) + 2*(after.memory-before.memory)
	if growth > limit {
		t.Errorf("growth of the heap: got %d KiB, want at most %d KiB", growth>>10, limit>>10)
	}
}

// soakTest is the state that the connections of TestSoak share.
type soakTest struct {
	w        *world
	gateway  *server
	http     *http.Client
	accounts []string
	tokens   []string

	made    atomic.Int64 // connections
	failed  atomic.Int64 // connections
	failure atomic.Value // error text of a failed connection
	frames  atomic.Int64
}

// creditRandomAccounts does ten credits a second until ctx ends.
func (s *soakTest) creditRandomAccounts(ctx context.Context, a *api) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := a.sendOnce(newCredit(pickRandom(s.accounts), 1))
		if err != nil {
			s.w.Error(err)
		}
	}
}

// footprint is the size of a gateway without connections.
type footprint struct {
	goroutines int64
	heap       int64 // bytes
	memory     int64 // bytes of recent events
}

// measureGateway waits until all connections are closed. The heap is the smallest of several, each
// measured right after a collection: pooled buffers and closed sockets live through one or two.
func (s *soakTest) measureGateway() footprint {
	s.w.Helper()
	s.w.waitUntil("all connections are closed", func() bool { return s.w.readMetric(s.gateway, "realtime_gateway_connections") == 0 })
	var stats struct{ MemoryBytes int64 }
	body := s.w.getBody("http://"+s.gateway.admin+"/admin/stats", s.w.signToken("ops", nil, auth.ScopeAdmin), http.StatusOK)
	err := json.Unmarshal(body, &stats)
	if err != nil {
		s.w.Fatal(err)
	}
	got := footprint{goroutines: math.MaxInt64, heap: math.MaxInt64, memory: stats.MemoryBytes}
	for range 20 {
		// The goroutines of the last requests end a moment later.
		got.goroutines = min(got.goroutines, int64(s.w.readMetric(s.gateway, "go_goroutines")))
	}
	for range 5 {
		s.collectGarbage()
		got.heap = min(got.heap, int64(s.w.readMetric(s.gateway, "go_memstats_heap_alloc_bytes")))
	}
	return got
}

// collectGarbage has the gateway collect its garbage.
func (s *soakTest) collectGarbage() {
	s.w.Helper()
	resp, err := s.w.http.Get("http://" + s.gateway.admin + "/debug/pprof/heap?gc=1")
	if err != nil {
		s.w.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		s.w.Fatal(err)
	}
}

// keepConnections keeps that many connections open. Each of them is replaced several times.
func (s *soakTest) keepConnections(connections int, duration time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	var clients sync.WaitGroup
	dials := make(chan struct{}, 64) // bounds concurrent dials
	for i := range connections {
		clients.Go(func() {
			for ctx.Err() == nil {
				stay := duration/20 + rand.N(duration/5)
				s.made.Add(1)
				visit := s.visitWS
				if i%10 == 0 {
					visit = s.visitSSE
				}
				err := visit(ctx, i, stay, dials)
				if err != nil && ctx.Err() == nil {
					s.failed.Add(1)
					s.failure.Store(err.Error())
					return
				}
			}
		})
	}
	clients.Wait()
}

// visitWS subscribes, reads for a while and disconnects, with or without a close frame.
func (s *soakTest) visitWS(ctx context.Context, i int, stay time.Duration, dials chan struct{}) error {
	token := s.tokens[i%len(s.tokens)]
	dials <- struct{}{}
	dialCtx, cancel := context.WithTimeout(ctx, patience)
	socket, err := rawclient.Dial(dialCtx, s.gateway.baseURL(), token, s.http)
	cancel()
	<-dials
	if err != nil {
		return err
	}
	defer socket.Close()
	err = socket.Send(ctx, rawclient.Subscribe{Sub: "wallet"})
	if err != nil {
		return err
	}
	stayCtx, cancel := context.WithTimeout(ctx, stay)
	defer cancel()
	for {
		_, err := socket.Next(stayCtx)
		if stayCtx.Err() != nil {
			if i%3 == 0 {
				_ = socket.WS.Close(websocket.StatusNormalClosure, "") // the canceled read has closed the connection
			}
			return nil
		}
		if err != nil {
			return err
		}
		s.frames.Add(1)
	}
}

// visitSSE reads server-sent events for a while and disconnects.
func (s *soakTest) visitSSE(ctx context.Context, i int, stay time.Duration, dials chan struct{}) error {
	dials <- struct{}{}
	stayCtx, cancel := context.WithTimeout(ctx, stay)
	defer cancel()
	stream, err := rawclient.OpenEventStream(stayCtx, s.gateway.baseURL(), s.tokens[i%len(s.tokens)], "", s.http)
	<-dials
	if stayCtx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	for err == nil {
		_, err = stream.Next()
		s.frames.Add(1)
	}
	if stayCtx.Err() == nil {
		return errors.New("the gateway ended a stream of server-sent events")
	}
	return nil
}
