package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/client"
)

// server is a gateway whose test says what it sends.
type server struct {
	testing.TB
	url         string
	connections chan *serverConn
	refuse      func(w http.ResponseWriter) bool // nil: no handshake is refused
	running     sync.WaitGroup                   // what run has started
}

// serverConn is one connection to the server.
type serverConn struct {
	testing.TB
	ctx   context.Context
	conn  *websocket.Conn
	token string
}

// startServer starts a server. refuse may answer a handshake instead of it.
func startServer(t testing.TB, refuse func(w http.ResponseWriter) bool) *server {
	s := &server{TB: t, connections: make(chan *serverConn, 16), refuse: refuse}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.refuse != nil && s.refuse(w) {
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"wallet.v1"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.connections <- &serverConn{TB: t, ctx: ctx, conn: conn, token: token}
	}))
	t.Cleanup(func() {
		cancel()
		h.Close()
		s.running.Wait()
		close(s.connections)
		for c := range s.connections {
			c.conn.CloseNow()
		}
	})
	s.url = "ws" + strings.TrimPrefix(h.URL, "http") + "/v1/ws"
	return s
}

// run calls f beside the test, whose end waits for it.
func (s *server) run(f func()) { s.running.Go(f) }

// accept waits for a connection and welcomes the client.
func (s *server) accept() *serverConn {
	s.Helper()
	select {
	case c := <-s.connections:
		s.Cleanup(func() { c.conn.CloseNow() })
		c.send(`{"op":"welcome","connection":"c0de","gateway":"gw-1","heartbeatSeconds":25,"expiresAt":"2030-01-01T00:00:00.000Z"}`)
		return c
	case <-time.After(patience):
		s.Fatal("the client must connect")
		return nil
	}
}

// write sends frames in one message.
func (c *serverConn) write(frames ...string) error {
	return c.conn.Write(c.ctx, websocket.MessageText, []byte(strings.Join(frames, "\n")))
}

// send sends frames in one message, which must succeed.
func (c *serverConn) send(frames ...string) {
	c.Helper()
	err := c.write(frames...)
	if err != nil {
		c.Fatalf("send: %v", err)
	}
}

// clientFrame is a frame of the client.
type clientFrame struct {
	Op       string            `json:"op"`
	Sub      string            `json:"sub"`
	Token    string            `json:"token"`
	Accounts []string          `json:"accounts"`
	After    map[string]int64  `json:"after"`
	Chain    map[string]string `json:"chain"`
}

// expect reads the next frame, which must have the op.
func (c *serverConn) expect(op string) clientFrame {
	c.Helper()
	f, err := c.read()
	if err != nil {
		c.Fatalf("read a frame %s: %v", op, err)
	}
	if f.Op != op {
		c.Fatalf("got frame %+v, want %s", f, op)
	}
	return f
}

// read reads the next frame.
func (c *serverConn) read() (clientFrame, error) {
	_, message, err := c.conn.Read(c.ctx)
	if err != nil {
		return clientFrame{}, err
	}
	var f clientFrame
	err = json.Unmarshal(message, &f)
	return f, err
}

// expectSubscribe reads a subscribe frame and confirms it with a snapshot.
func (c *serverConn) expectSubscribe(seq int64) string {
	c.Helper()
	f := c.expect("subscribe")
	c.send(subscribedFrame(f.Sub, seq))
	return f.Sub
}

func chainAt(seq int64) string { return fmt.Sprintf("%016d", seq) }

// balanceAt is the snapshot of user:u1 after an event.
func balanceAt(seq int64) string {
	return fmt.Sprintf(`{"account":"user:u1","accountId":"u1","accountType":"user","availableBalance":%d,"escrowBalance":%d,`+
		`"currency":"points","seq":%d,"chain":%q,"lastUpdated":"2026-01-01T00:00:00.000Z"}`, 1000-seq, seq, seq, chainAt(seq))
}

func subscribedFrame(sub string, seq int64) string {
	return fmt.Sprintf(`{"op":"subscribed","sub":%q,"accounts":[{"account":"user:u1","seq":%d,"chain":%q,"recovered":false,"snapshot":%s}]}`,
		sub, seq, chainAt(seq), balanceAt(seq))
}

func recoveredFrame(sub string, seq int64) string {
	return fmt.Sprintf(`{"op":"subscribed","sub":%q,"accounts":[{"account":"user:u1","seq":%d,"chain":%q,"recovered":true}]}`,
		sub, seq, chainAt(seq))
}

// heldFrame is an event that holds one point.
func heldFrame(sub string, seq int64) string {
	return fmt.Sprintf(`{"op":"event","sub":%q,"account":"user:u1","seq":%d,"chain":%q,"event":{"eventId":"e%d",`+
		`"eventType":"wallet.escrow_held","timestamp":"2026-01-01T00:00:00.000Z","transactionId":"t%d","reason":"wheel_spin",`+
		`"source":"wallet-core","version":"1.0","userId":"u1","escrowId":"x%d","amount":1,"queueItemId":"q1","featureType":"wheel",`+
		`"userAvailableBalance":%d,"userEscrowBalance":%d}}`, sub, seq, chainAt(seq), seq, seq, seq, 1000-seq, seq)
}

func resyncFrame(sub string, seq int64, reason string) string {
	return fmt.Sprintf(`{"op":"resync","sub":%q,"account":"user:u1","seq":%d,"chain":%q,"snapshot":%s,"reason":%q}`,
		sub, seq, chainAt(seq), balanceAt(seq), reason)
}

// newClient returns a client that the test closes.
func newClient(t testing.TB, url string, cfg client.Config) *client.Client {
	t.Helper()
	if cfg.Token == nil {
		cfg.Token = client.StaticToken("t1")
	}
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	c, err := client.New(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
