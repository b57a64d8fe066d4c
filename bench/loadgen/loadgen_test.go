//go:build linux

package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/bench/feed"
)

func event(stamp int64) string {
	return fmt.Sprintf(`{"op":"event","event":{%s%d"}}`, feed.Marker, stamp)
}

// startServer starts a server that answers the first message of each client with messages, and then
// waits for the end of the connection. It calls report for each unexpected event.
func startServer(t *testing.T, report func(format string, args ...any), messages ...string) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"wallet.v1"}})
		if err != nil {
			report("%v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		_, hello, err := c.Read(r.Context())
		if want := `{"op":"subscribe","sub":"wallet","accounts":["user:a"],"after":{"user:a":7}}`; err != nil || string(hello) != want {
			report("got first message %s (%v), want %s", hello, err, want)
		}
		for _, m := range messages {
			if err := c.Write(r.Context(), websocket.MessageText, []byte(m)); err != nil {
				report("%v", err)
			}
		}
		if err := c.Ping(c.CloseRead(r.Context())); err != nil {
			report("got no answer to the ping: %v", err)
		}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func openClients(t *testing.T, addr string, missed int) (*Generator, error) {
	t.Helper()
	client := Client{Account: "user:a", Token: "t", After: 7}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return Open(ctx, addr, Wallet{}, Plan{Clients: []Client{client, client, client}, Missed: missed, AtOnce: 2})
}

const subscribed = `{"op":"welcome"}` + "\n" + `{"op":"subscribed","sub":"wallet"}`

func TestGeneratorCountsEvents(t *testing.T) {
	now := time.Now().UnixNano()
	long := strings.Repeat(" ", 300<<10) // longer than the read buffer
	addr := startServer(t, t.Errorf, subscribed, event(now), event(now+1)+"\n"+event(now+2), long+event(now+3))
	g, err := openClients(t, addr, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Await(t.Context(), 12, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := g.Await(t.Context(), 11, time.Second); err == nil {
		t.Error("got no error for more events than expected, want one")
	}
	if got := g.latency.Load().Count(); got != 12 {
		t.Errorf("got %d latencies, want 12", got)
	}
}

func TestGeneratorReportsFaults(t *testing.T) {
	now := time.Now().UnixNano()
	for _, tt := range []struct {
		name     string
		messages []string
	}{
		{"event twice", []string{subscribed, event(now), event(now)}},
		{"out of order", []string{subscribed, event(now), event(now - 1)}},
		{"refused", []string{`{"op":"error","code":"forbidden"}`}},
		{"resync", []string{subscribed, `{"op":"resync"}`}},
		{"no stamp", []string{subscribed, event(1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := openClients(t, startServer(t, func(string, ...any) {}, tt.messages...), 2)
			if err == nil {
				g.Close()
				t.Error("got no error, want one")
			}
		})
	}
}

func TestNextFrameReadsEverySize(t *testing.T) {
	for _, size := range []int{0, 125, 126, 1<<16 - 1, 1 << 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			sent := appendFrame(nil, opText, strings.Repeat("x", size))
			// The frame of a server is the frame of a client without the mask.
			head := len(sent) - size - 4
			sent[1] &^= 0x80
			b := append(append(bytes.Clone(sent[:head]), sent[head+4:]...), "rest"...)

			for n := range min(head+size, 300) {
				_, _, _, ok, err := nextFrame(b[:n])
				if ok || err != nil {
					t.Fatalf("first %d bytes: got ok %t and error %v, want an incomplete frame", n, ok, err)
				}
			}
			op, payload, rest, ok, err := nextFrame(b)
			if err != nil || !ok {
				t.Fatalf("got ok %t and error %v, want a complete frame", ok, err)
			}
			if op != opText {
				t.Errorf("got opcode %d, want %d", op, opText)
			}
			if len(payload) != size {
				t.Errorf("got a payload of %d bytes, want %d", len(payload), size)
			}
			if string(rest) != "rest" {
				t.Errorf("got rest %q, want %q", rest, "rest")
			}
		})
	}
}

func TestNextFrameRefusesInvalidFrames(t *testing.T) {
	for _, tt := range []struct{ name, frame string }{
		{"fragment", "\x01\x00"},
		{"reserved bit", "\xc1\x00"},
		{"masked", "\x81\x80"},
		{"too long", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, _, _, err := nextFrame([]byte(tt.frame)); err == nil {
				t.Error("got no error, want one")
			}
		})
	}
}

func TestWalletHelloWithoutResume(t *testing.T) {
	got := (Wallet{}).Hello(&Client{Account: "user:a", After: -1})
	if want := `{"op":"subscribe","sub":"wallet","accounts":["user:a"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCentrifugeHelloWithResume(t *testing.T) {
	got := Centrifuge{}.Hello(&Client{Account: "user:a", Token: "t", After: 3})
	want := `{"id":1,"connect":{"token":"t"}}` + "\n" +
		`{"id":2,"subscribe":{"channel":"user:a","recover":true,"epoch":"","offset":3}}`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCentrifugeRecognizesMessages(t *testing.T) {
	var c Centrifuge
	for _, tt := range []struct {
		message string
		opened  bool
		failed  bool
		pong    string
	}{
		{message: `{"id":2,"subscribe":{"recoverable":true}}`, opened: true},
		{message: `{"id":1,"connect":{}}`},
		{message: `{"id":2,"error":{"code":103}}`, failed: true},
		{message: `{"push":{}}`},
		{message: `{}`, pong: `{}`},
	} {
		t.Run(tt.message, func(t *testing.T) {
			if got := c.Opened([]byte(tt.message)); got != tt.opened {
				t.Errorf("Opened: got %t, want %t", got, tt.opened)
			}
			if got := c.Failed([]byte(tt.message)); got != tt.failed {
				t.Errorf("Failed: got %t, want %t", got, tt.failed)
			}
			if got := c.Pong([]byte(tt.message)); got != tt.pong {
				t.Errorf("Pong: got %q, want %q", got, tt.pong)
			}
		})
	}
}
