package ws

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// dialRaw makes the handshake and returns the network connection. A test can then send bytes that a
// WebSocket library would not send.
func (g *gateway) dialRaw(accounts ...string) net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.server.URL, "http://"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	tcp, ok := conn.(*net.TCPConn)
	if ok {
		_ = tcp.SetReadBuffer(4 << 10) // the network must not buffer much
	}

	req, err := http.NewRequest(http.MethodGet, g.server.URL+"/v1/ws", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if len(accounts) > 0 {
		req.Header = bearerHeader(mintTokenFor(g.t, accounts...))
	}
	setUpgradeHeaders(req.Header)
	err = req.Write(conn)
	if err != nil {
		g.t.Fatal(err)
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, 1<<10), 16)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		g.t.Fatalf("handshake: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("handshake: got status %d, want 101", resp.StatusCode)
	}
	return conn
}

// rawFrame returns a client's frame of less than 64 KiB. It is masked with zeros.
func rawFrame(fin bool, opcode byte, payload string) []byte {
	b := []byte{opcode}
	if fin {
		b[0] |= 0x80
	}
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	b = append(b, 0, 0, 0, 0) // the mask
	return append(b, payload...)
}

// attacks has the behaviours of hostile clients. Each runs until its connection ends.
var attacks = map[string]func(conn net.Conn) error{
	"does not read":               attackWithoutReading,
	"reads a byte now and then":   attackWithSlowReads,
	"does not authenticate":       discardAll,
	"floods frames":               floodWith(rawFrame(true, 1, `{"op":"ping"}`)),
	"floods pings":                floodWith(rawFrame(true, 9, "ping")),
	"floods invalid frames":       floodWith([]byte(strings.Repeat("\xff\x00rubbish", 100))),
	"sends fragments without end": attackWithFragments,
	"sends fragments slowly":      attackWithSlowFragments,
	"announces a huge message":    attackWithHugeMessage,
	"subscribes and unsubscribes": attackWithSubscriptions,
}

func attackWithoutReading(conn net.Conn) error {
	_, err := conn.Write(rawFrame(true, 1, subscribeFrame))
	return err
}

func attackWithSlowReads(conn net.Conn) error {
	_, err := conn.Write(rawFrame(true, 1, subscribeFrame))
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var b [1]byte
	for range tick.C {
		_, err := conn.Read(b[:])
		if err != nil {
			return err
		}
	}
	return nil
}

// floodWith returns an attack that sends the same bytes again and again.
func floodWith(p []byte) func(conn net.Conn) error {
	return func(conn net.Conn) error {
		go func() { _ = discardAll(conn) }()
		return writeForever(conn, p)
	}
}

func attackWithFragments(conn net.Conn) error {
	go func() { _ = discardAll(conn) }()
	_, err := conn.Write(rawFrame(false, 1, "{"))
	if err != nil {
		return err
	}
	return writeForever(conn, rawFrame(false, 0, ""))
}

func attackWithSlowFragments(conn net.Conn) error {
	_, err := conn.Write(rawFrame(false, 1, "{"))
	if err != nil {
		return err
	}
	go func() { _ = discardAll(conn) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		_, err := conn.Write(rawFrame(false, 0, " "))
		if err != nil {
			return err
		}
	}
	return nil
}

func attackWithHugeMessage(conn net.Conn) error {
	go func() { _ = discardAll(conn) }()
	header := binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<40)
	_, err := conn.Write(append(header, 0, 0, 0, 0))
	if err != nil {
		return err
	}
	return writeForever(conn, make([]byte, 4<<10))
}

func attackWithSubscriptions(conn net.Conn) error {
	go func() { _ = discardAll(conn) }()
	for i := 0; ; i++ {
		subscribe := fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`, i)
		unsubscribe := fmt.Sprintf(`{"op":"unsubscribe","sub":"s%d"}`, i)
		_, err := conn.Write(rawFrame(true, 1, subscribe+"\n"+unsubscribe))
		if err != nil {
			return err
		}
	}
}

func discardAll(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

func writeForever(conn net.Conn, p []byte) error {
	for {
		_, err := conn.Write(p)
		if err != nil {
			return err
		}
	}
}

// Hostile clients are disconnected, their queues are bounded, and other clients receive every
// event.
func TestHostileClients(t *testing.T) {
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting for timeouts
			g := newGateway(t, Config{
				AuthTimeout:    500 * time.Millisecond,
				MessageTimeout: 500 * time.Millisecond,
			})
			good := g.login("user:u1")
			good.subscribe()
			before := measureHeap()

			const attackers = 10
			accounts := []string{"user:u1"}
			if name == "does not authenticate" {
				accounts = nil
			}
			var wg sync.WaitGroup
			var conns []net.Conn
			for range attackers {
				conn := g.dialRaw(accounts...)
				conns = append(conns, conn)
				wg.Go(func() { _ = attack(conn) }) // any error ends the attack
			}

			seq, maxHeap := g.deliverDuringAttack(t, good)
			// The tests run in parallel. The heap has their queues and their memories of recent
			// events, which have 2 MiB in a shard.
			limit := int64(len(attacks)) * (6<<20 + attackers<<20)
			growth := maxHeap - before
			if growth > limit {
				t.Errorf("growth of the heap: got %d MiB, want at most %d MiB", growth>>20, limit>>20)
			}

			for _, conn := range conns {
				_ = conn.Close()
			}
			wg.Wait()
			waitUntil(t, "only the good client is left", func() bool {
				stats := g.hub.Stats()
				return stats.Connections == 1 && stats.Subscriptions == 1
			})
			g.deliverEvents("user:u1", 1)
			good.expectEvents("s", "user:u1", seq+1, seq+1)
		})
	}
}

// deliverDuringAttack delivers events until only the good client is connected. It returns the seq
// of the last event and the maximum of the heap.
func (g *gateway) deliverDuringAttack(t *testing.T, good *client) (seq, maxHeap int64) {
	t.Helper()
	const batch = 20
	deadline := time.Now().Add(2 * testTimeout)
	for g.hub.Stats().Connections > 1 {
		if time.Now().After(deadline) {
			t.Fatal("the hostile clients are still connected, want them disconnected")
		}
		g.deliverPadded("user:u1", batch, 2<<10)
		good.expectEvents("s", "user:u1", seq+1, seq+batch)
		seq += batch

		for _, info := range g.listConnections("") {
			if info.QueuedBytes > 1<<20 {
				t.Fatalf("queued bytes: got %d, want at most 1 MiB", info.QueuedBytes)
			}
			if info.QueuedFrames > 1024 {
				t.Fatalf("queued frames: got %d, want at most 1024", info.QueuedFrames)
			}
		}
		if seq%1000 == 0 {
			maxHeap = max(maxHeap, measureHeap())
		}
	}
	return seq, maxHeap
}

// measureHeap returns the size of the heap after a garbage collection, in bytes.
func measureHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Run ends even if the core does not answer the requests for subscriptions.
func TestRunEndsWhileCoreHangs(t *testing.T) {
	g := newGateway(t, Config{CloseTimeout: 50 * time.Millisecond, FetchTimeout: time.Hour})
	block := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(block) })
	defer unblock()
	g.ledger.update(func(l *ledger) { l.block = block })

	g.login("user:u1").sendFrame(subscribeFrame)
	req, err := http.NewRequestWithContext(
		t.Context(), http.MethodGet, g.server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearerHeader(mintTokenFor(t, "user:u2"))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil { // an error is possible too
			_ = resp.Body.Close()
		}
	})
	waitUntil(t, "both clients wait for the core", func() bool {
		return g.hub.Stats().Subscriptions == 2
	})

	stopped := make(chan struct{})
	wg.Go(func() {
		g.stop()
		close(stopped)
	})
	select {
	case <-stopped:
	case <-time.After(testTimeout):
		t.Error("Run waits for the core, want it to end")
		unblock()
	}
}
