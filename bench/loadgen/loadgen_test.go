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

// serve answers each client's first message with messages, and then waits for its
// end. complain is told what goes wrong.
func serve(t *testing.T, complain func(format string, args ...any), messages ...string) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"wallet.v1"}})
		if err != nil {
			complain("%v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		_, hello, err := c.Read(r.Context())
		if want := `{"op":"subscribe","sub":"wallet","accounts":["user:a"],"after":{"user:a":7}}`; err != nil || string(hello) != want {
			complain("the client began with %s, %v", hello, err)
		}
		for _, m := range messages {
			if err := c.Write(r.Context(), websocket.MessageText, []byte(m)); err != nil {
				complain("%v", err)
			}
		}
		if err := c.Ping(c.CloseRead(r.Context())); err != nil {
			complain("the ping was not answered: %v", err)
		}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func open(t *testing.T, addr string, missed int) (*Generator, error) {
	t.Helper()
	client := Client{Account: "user:a", Token: "t", After: 7}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return Open(ctx, addr, Wallet{}, Plan{Clients: []Client{client, client, client}, Missed: missed, AtOnce: 2})
}

const subscribed = `{"op":"welcome"}` + "\n" + `{"op":"subscribed","sub":"wallet"}`

func TestGeneratorCountsWhatComes(t *testing.T) {
	now := time.Now().UnixNano()
	long := strings.Repeat(" ", 300<<10) // more than is read at once
	addr := serve(t, t.Errorf, subscribed, event(now), event(now+1)+"\n"+event(now+2), long+event(now+3))
	g, err := open(t, addr, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Await(t.Context(), 12, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := g.Await(t.Context(), 11, time.Second); err == nil {
		t.Error("events beyond those expected were not noticed")
	}
	if n := g.latency.Load().Count(); n != 12 {
		t.Errorf("%d latencies were counted", n)
	}
}

func TestGeneratorNoticesFaults(t *testing.T) {
	now := time.Now().UnixNano()
	for name, messages := range map[string][]string{
		"twice":        {subscribed, event(now), event(now)},
		"out of order": {subscribed, event(now), event(now - 1)},
		"refused":      {`{"op":"error","code":"forbidden"}`},
		"resync":       {subscribed, `{"op":"resync"}`},
		"no stamp":     {subscribed, event(1)},
	} {
		g, err := open(t, serve(t, func(string, ...any) {}, messages...), 2)
		if err == nil {
			g.Close()
			t.Errorf("%s: nothing was noticed", name)
		}
	}
}

func TestFrames(t *testing.T) {
	for _, size := range []int{0, 125, 126, 1<<16 - 1, 1 << 16} {
		sent := frame(nil, opText, strings.Repeat("x", size))
		// A server's frame is a client's without mask.
		head := len(sent) - size - 4
		sent[1] &^= 0x80
		b := append(append(bytes.Clone(sent[:head]), sent[head+4:]...), "rest"...)
		for cut := range min(head+size, 300) {
			if _, _, _, ok, err := next(b[:cut]); ok || err != nil {
				t.Fatalf("%d bytes of a frame of %d: ok %t, %v", cut, size, ok, err)
			}
		}
		op, payload, rest, ok, err := next(b)
		if op != opText || len(payload) != size || string(rest) != "rest" || !ok || err != nil {
			t.Errorf("size %d: op %d, %d bytes, rest %q, ok %t, %v", size, op, len(payload), rest, ok, err)
		}
	}
	for _, bad := range []string{"\x01\x00", "\xc1\x00", "\x81\x80", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"} {
		if _, _, _, _, err := next([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestClientProtocols(t *testing.T) {
	var c Centrifuge
	if got := c.Hello(&Client{Account: "user:a", Token: "t", After: 3}); got != `{"id":1,"connect":{"token":"t"}}`+"\n"+
		`{"id":2,"subscribe":{"channel":"user:a","recover":true,"epoch":"","offset":3}}` {
		t.Errorf("centrifuge begins with %s", got)
	}
	if !c.Opened([]byte(`{"id":2,"subscribe":{"recoverable":true}}`)) || c.Opened([]byte(`{"id":1,"connect":{}}`)) {
		t.Error("centrifuge: opened")
	}
	if !c.Failed([]byte(`{"id":2,"error":{"code":103}}`)) || c.Failed([]byte(`{"push":{}}`)) {
		t.Error("centrifuge: failed")
	}
	if c.Pong([]byte("{}")) != "{}" || c.Pong([]byte(`{"push":{}}`)) != "" {
		t.Error("centrifuge: pong")
	}
	if got := (Wallet{}).Hello(&Client{Account: "user:a", After: -1}); got != `{"op":"subscribe","sub":"wallet","accounts":["user:a"]}` {
		t.Errorf("wallet begins with %s", got)
	}
}
