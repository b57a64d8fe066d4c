package coreapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/coreapi"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/pkg/wallet"
	"github.com/redroomrewards/realtime/pkg/wallet/wallettest"
)

// slowServer is the API behind the real server, with a short write deadline.
type slowServer struct {
	*harness
	address  string
	registry *prometheus.Registry
}

const (
	slowClients      = 40
	maxTransferBytes = 4 << 20
	writeTimeout     = 8 * time.Second // a busy machine needs some seconds for a large page
)

func startSlowServer(t *testing.T) *slowServer {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	ledger := wallettest.Open(t, wallettest.SQLite(t), wallet.Config{Logger: quiet})
	verifier, err := auth.NewVerifier(auth.Config{HS256Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	api := coreapi.New(ledger, verifier, coreapi.Config{
		MaxBytes:   maxTransferBytes,
		Logger:     quiet,
		Registerer: registry,
	})

	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving errgroup.Group
	serving.Go(func() error {
		return httpserver.Serve(ctx, ln, api, httpserver.Config{
			WriteTimeout: writeTimeout,
			StopTimeout:  time.Millisecond,
			Logger:       quiet,
		})
	})
	t.Cleanup(func() {
		cancel()
		err := serving.Wait()
		if err != nil {
			t.Error(err)
		}
	})
	return &slowServer{
		harness:  newHarness(t, "http://"+ln.Addr().String(), ledger, described()),
		address:  ln.Addr().String(),
		registry: registry,
	}
}

// fillAccount gives the user entries whose page has about 1 MB.
func (s *slowServer) fillAccount() {
	s.Helper()
	metadata := json.RawMessage(`{"text":"` + strings.Repeat("x", 8000) + `"}`)
	operations := make([]wallet.Op, 125)
	for i := range operations {
		operations[i] = wallet.Op{
			Operation:      wallet.OpCredit,
			Account:        "user:u1",
			Amount:         1,
			Reason:         "x",
			IdempotencyKey: fmt.Sprint("k", i),
			Metadata:       metadata,
		}
	}
	for _, result := range s.ledger.DoBatch(s.Context(), operations) {
		if result.Err != nil {
			s.Fatal(result.Err)
		}
	}
}

func (s *slowServer) dial() net.Conn {
	s.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

// requestWithoutReading asks for a large page on a connection of its own and reads nothing.
func (s *slowServer) requestWithoutReading(token string) net.Conn {
	s.Helper()
	conn := s.dial()
	err := conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if err != nil {
		s.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "GET /v1/accounts/user:u1/entries?limit=1000 HTTP/1.1\r\nHost: core\r\nAuthorization: Bearer %s\r\n\r\n", token)
	if err != nil {
		s.Fatal(err)
	}
	return conn
}

// metric returns the sum of a metric's series.
func (s *slowServer) metric(name string) (sum float64) {
	s.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// countReads returns the number of running and waiting reads.
func (s *slowServer) countReads() float64 {
	s.Helper()
	return s.metric("realtime_http_reads_running") + s.metric("realtime_http_reads_waiting")
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC() // a pool keeps its buffers until the second collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Clients that ask for large pages and do not read them use a bounded amount of memory. Others are
// served meanwhile. At the write deadline the connections of such clients are closed.
func TestClientsThatDoNotReadAreBounded(t *testing.T) {
	s := startSlowServer(t)
	s.fillAccount()
	before := heapBytes()
	conns := make([]net.Conn, slowClients)
	for i := range conns {
		conns[i] = s.requestWithoutReading(s.token)
		waitUntil(t, func() bool { return s.countReads() < 5 }) // so that the queue of reads refuses none
	}
	waitUntil(t, func() bool { return s.countReads() == 0 })

	const maxGrowth = maxTransferBytes + 16<<20 // connections, and pages that are just being read
	growth := int64(heapBytes()) - int64(before)
	t.Logf("%d clients: the heap grew by %d KiB, %v bytes of answers are in memory",
		slowClients, growth>>10, s.metric("realtime_http_transfer_bytes"))
	if growth > maxGrowth {
		t.Errorf("got a growth of %d bytes, want at most %d", growth, maxGrowth)
	}

	other := request{
		path:  "/v1/accounts/user:u1/entries?limit=1000",
		token: signToken(t, "other", nil, "wallet:read"),
	}
	page := s.expect(http.StatusOK, other)
	if len(page.json["entries"].([]any)) != 125 {
		t.Errorf("another client got %d entries, want 125", len(page.json["entries"].([]any)))
	}

	waitUntil(t, func() bool { return s.metric("realtime_http_transfer_bytes") == 0 })
	s.checkOutcomes(conns)
}

// checkOutcomes requires that each client gets a refusal, or the beginning of its page and the end
// of the connection.
func (s *slowServer) checkOutcomes(conns []net.Conn) {
	s.Helper()
	var refused atomic.Int64
	var group sync.WaitGroup
	for _, conn := range conns {
		group.Go(func() {
			complete, status := readAnswer(conn)
			switch {
			case status == http.StatusServiceUnavailable:
				refused.Add(1)
			case complete:
				s.Errorf("got a complete answer with status %d, want the end of the connection", status)
			}
		})
	}
	group.Wait()
	if refused.Load() < slowClients/4 {
		s.Errorf("got %d refusals, want at least a quarter of the clients refused", refused.Load())
	}
}

// readAnswer reads the rest of an answer.
func readAnswer(conn net.Conn) (complete bool, status int) {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	_ = conn.(*net.TCPConn).SetReadBuffer(1 << 20)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false, 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil, resp.StatusCode
}
