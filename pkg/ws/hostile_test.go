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

// rawDial does the handshake by hand and returns the network connection, to do
// with it what no library would.
func (g *gateway) rawDial(accounts ...string) net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.server.URL, "http://"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10) // so that little hides in the network
	}
	req, err := http.NewRequest(http.MethodGet, g.server.URL+"/v1/ws", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if len(accounts) > 0 {
		req.Header = bearer(mintFor(g.t, accounts...))
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	if err := req.Write(conn); err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(conn, 1<<10), 16), req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("handshake: %v %v", resp, err)
	}
	return conn
}

// rawFrame is a client's frame of less than 64 KiB, masked with zeros.
func rawFrame(fin bool, opcode byte, payload string) []byte {
	b := []byte{opcode}
	if fin {
		b[0] |= 0x80
	}
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

const subscribeFrame = `{"op":"subscribe","sub":"s"}`

// hostile is what clients do that mean no good. Each goes on until its connection
// ends.
var hostile = map[string]func(conn net.Conn) error{
	"stops reading": func(conn net.Conn) error {
		_, err := conn.Write(rawFrame(true, 1, subscribeFrame))
		return err
	},
	"reads a few bytes now and then": func(conn net.Conn) error {
		if _, err := conn.Write(rawFrame(true, 1, subscribeFrame)); err != nil {
			return err
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var b [1]byte
		for range tick.C {
			if _, err := conn.Read(b[:]); err != nil {
				return err
			}
		}
		return nil
	},
	"never authenticates": drainConn,
	"floods frames": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		return writeForever(conn, rawFrame(true, 1, `{"op":"ping"}`))
	},
	"floods pings": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		return writeForever(conn, rawFrame(true, 9, "ping"))
	},
	"sends rubbish": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		return writeForever(conn, []byte(strings.Repeat("\xff\x00rubbish", 100)))
	},
	"sends fragments without end": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		if _, err := conn.Write(rawFrame(false, 1, "{")); err != nil {
			return err
		}
		return writeForever(conn, rawFrame(false, 0, ""))
	},
	"sends a fragment of a byte now and then": func(conn net.Conn) error {
		if _, err := conn.Write(rawFrame(false, 1, "{")); err != nil {
			return err
		}
		go func() { _ = drainConn(conn) }()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := conn.Write(rawFrame(false, 0, " ")); err != nil {
				return err
			}
		}
		return nil
	},
	"announces a huge message": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		header := binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<40)
		if _, err := conn.Write(append(header, 0, 0, 0, 0)); err != nil {
			return err
		}
		return writeForever(conn, make([]byte, 4<<10))
	},
	"subscribes and unsubscribes": func(conn net.Conn) error {
		go func() { _ = drainConn(conn) }()
		for i := 0; ; i++ {
			sub := fmt.Sprintf(`{"op":"subscribe","sub":"s%d"}`+"\n"+`{"op":"unsubscribe","sub":"s%d"}`, i, i)
			if _, err := conn.Write(rawFrame(true, 1, sub)); err != nil {
				return err
			}
		}
	},
}

func drainConn(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

func writeForever(conn net.Conn, p []byte) error {
	for {
		if _, err := conn.Write(p); err != nil {
			return err
		}
	}
}

// Whatever clients do: they are gone in the end, what waits for them is bounded, and
// the others get every event.
func TestHostileClients(t *testing.T) {
	for name, attack := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time they are waited for to close
			g := newGateway(t, Config{AuthTimeout: 500 * time.Millisecond, MessageTimeout: 500 * time.Millisecond})
			fine := g.login("user:u1")
			fine.send(subscribeFrame)
			fine.expect("subscribed")
			before := heap()
			const attackers = 10
			var wg sync.WaitGroup
			var conns []net.Conn
			for range attackers {
				accounts := []string{"user:u1"}
				if name == "never authenticates" {
					accounts = nil
				}
				conn := g.rawDial(accounts...)
				conns = append(conns, conn)
				wg.Go(func() { _ = attack(conn) }) // ends as it may
			}
			eventually(t, "the attackers are there, or have been", func() bool { return g.hub.Stats().Connections <= attackers+1 })
			var seq, most int64
			deadline := time.Now().Add(6 * patience)
			for g.hub.Stats().Connections > 1 {
				if time.Now().After(deadline) {
					t.Fatal("they are still there")
				}
				ds := g.ledger.publish("user:u1", 20)
				for i := range ds {
					ds[i].View = fmt.Appendf(nil, `{"eventId":"%s","pad":"%s"}`, ds[i].ID, strings.Repeat("x", 2<<10))
				}
				g.hub.Deliver(ds, false)
				fine.expectEvents("s", "user:u1", seq+1, seq+20)
				seq += 20
				for _, info := range g.connections("") {
					if info.QueuedBytes > 1<<20 || info.QueuedFrames > 1024 {
						t.Fatalf("%d frames of %d bytes wait", info.QueuedFrames, info.QueuedBytes)
					}
				}
				if seq%1000 == 0 {
					most = max(most, heap()-before)
				}
			}
			// Of all kinds together: queues, and the memory for resume, a shard's 2 MiB.
			if limit := int64(len(hostile)) * (6<<20 + attackers<<20); most > limit {
				t.Errorf("the heap grew by %d MiB", most>>20)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			wg.Wait()
			eventually(t, "nothing is left of them", func() bool {
				st := g.hub.Stats()
				return st.Connections == 1 && st.Subscriptions == 1
			})
			g.deliver("user:u1", 1)
			fine.expectEvents("s", "user:u1", seq+1, seq+1)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The end does not wait for a core that does not answer clients' subscriptions.
func TestStopWhileTheCoreHangs(t *testing.T) {
	g := newGateway(t, Config{CloseTimeout: 50 * time.Millisecond, FetchTimeout: time.Hour})
	block := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(block) })
	defer unblock()
	g.ledger.set(func(l *ledger) { l.block = block })
	g.login("user:u1").send(subscribeFrame)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(mintFor(t, "user:u2"))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err == nil { // it may be refused, or cut off
			_ = resp.Body.Close()
		}
	})
	eventually(t, "both wait for the core", func() bool { return g.hub.Stats().Subscriptions == 2 })
	stopped := make(chan struct{})
	wg.Go(func() { g.stop(); close(stopped) })
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("Run waits for the core")
		unblock()
	}
}
