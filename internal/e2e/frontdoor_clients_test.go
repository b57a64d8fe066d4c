package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

// An event reaches a client at once, over each transport.
func (f *frontDoor) testTransports(t *testing.T, a *api) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	token := f.w.signToken("user:u1", nil)
	overHTTP1 := f.clientFrom(t, "127.0.0.4")
	overHTTP2 := f.clientOverHTTP2(t, "127.0.0.4")
	for name, tc := range map[string]struct {
		url    string
		client *http.Client
	}{
		"HTTP":            {f.baseURL(), overHTTP1},
		"HTTPS, HTTP/1.1": {"https://" + f.https, overHTTP1},
		"HTTPS, HTTP/2":   {"https://" + f.https, overHTTP2},
	} {
		t.Run("server-sent events, "+name, func(t *testing.T) {
			stream, err := rawclient.OpenEventStream(ctx, tc.url, token, "", tc.client)
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			expectNewEvent(t, a, stream.Next)
		})
	}
	for name, base := range map[string]string{"HTTP": f.baseURL(), "HTTPS, HTTP/1.1": "https://" + f.https} {
		t.Run("WebSocket, "+name, func(t *testing.T) {
			socket, err := rawclient.Dial(ctx, base, token, overHTTP1)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			err = socket.Send(ctx, rawclient.Subscribe{Sub: "wallet"})
			if err != nil {
				t.Fatal(err)
			}
			expectNewEvent(t, a, func() (rawclient.Frame, error) { return socket.Next(ctx) })
		})
	}
	if f.kind == "haproxy" {
		t.Run("WebSocket, HTTPS, HTTP/2", func(t *testing.T) { f.testExtendedConnect(t, token) })
	}
	t.Run("balance, HTTPS, HTTP/2", func(t *testing.T) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+f.https+"/v1/accounts/user:u1/balance", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := overHTTP2.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		checkEqual(t, "protocol", resp.Proto, "HTTP/2.0")
		checkEqual(t, "status", resp.StatusCode, http.StatusOK)
	})
}

// expectNewEvent makes a credit when the stream has subscribed, and reads its event.
func expectNewEvent(t *testing.T, a *api, next func() (rawclient.Frame, error)) {
	t.Helper()
	for {
		f, err := next()
		if err != nil {
			t.Fatal(err)
		}
		switch f.Op {
		case "welcome":
		case "subscribed":
			a.creditTimes(1, "user:u1")
		case "event":
			return
		default:
			t.Fatalf("got the frame %s", &f)
		}
	}
}

// clientOverHTTP2 returns a client that speaks HTTP/2 over TLS.
func (f *frontDoor) clientOverHTTP2(t *testing.T, address string) *http.Client {
	client := f.clientFrom(t, address)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	client.Transport.(*http.Transport).Protocols = protocols //nolint:forcetypeassert // clientFrom made it
	return client
}

// testExtendedConnect opens a WebSocket as a stream of an HTTP/2 connection (RFC 8441), and reads the
// first frame.
func (f *frontDoor) testExtendedConnect(t *testing.T, token string) {
	sent, send := io.Pipe()
	defer func() { _ = send.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://"+f.https+"/v1/ws", sent)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		":protocol":              {"websocket"},
		"Authorization":          {"Bearer " + token},
		"Sec-Websocket-Version":  {"13"},
		"Sec-Websocket-Protocol": {"wallet.v1"},
	}
	// The client of net/http refuses the header :protocol.
	transport := &http2.Transport{TLSClientConfig: f.clientTLS.Clone()} //nolint:staticcheck // net/http refuses :protocol
	defer transport.CloseIdleConnections()                              //nolint:staticcheck // net/http refuses :protocol
	resp, err := transport.RoundTrip(req)                               //nolint:staticcheck // net/http refuses :protocol
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	checkEqual(t, "status", resp.StatusCode, http.StatusOK)
	received := make([]byte, 1024)
	n, err := io.ReadAtLeast(resp.Body, received, len(`XX{"op":"welcome"`))
	if err != nil || !strings.Contains(string(received[:n]), `{"op":"welcome"`) {
		t.Errorf("got %q and error %v, want the frame welcome", received[:n], err)
	}
}

// testReload reloads the proxy while it has 1,000 connections. None of them is lost, each gets the
// next event, and no new connection fails meanwhile.
func (f *frontDoor) testReload(t *testing.T, a *api) {
	bounded, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	clients, ctx := errgroup.WithContext(bounded)
	seq := a.readBalance("user:u1").Seq
	const sockets, streams = 950, 50
	crowd := &crowd{
		token:     f.w.signToken("user:u1", nil),
		seq:       seq,
		isOpening: make(chan struct{}, 32),
		isOpen:    make(chan struct{}, sockets+streams),
	}
	for i := range sockets {
		client := f.clientFrom(t, fmt.Sprintf("127.0.1.%d", 1+i/50))
		clients.Go(func() error { return crowd.readSocket(ctx, f.server, client) })
	}
	overHTTP2 := f.clientOverHTTP2(t, "127.0.2.1")
	for range streams {
		clients.Go(func() error { return crowd.readStream(ctx, "https://"+f.https, overHTTP2) })
	}
	for range sockets + streams {
		select {
		case <-crowd.isOpen:
		case <-ctx.Done():
			t.Fatal(clients.Wait())
		}
	}
	for _, g := range f.gateways {
		// The gateways have equal shares, unless a check of one was late.
		n := f.countConnections(g)
		if n < 100 {
			t.Errorf("connections of a gateway: got %d of 1,000, want a share", n)
		}
	}

	isDone := f.reload()
	f.w.waitUntil("new processes answer", func() bool {
		f.connectOnce(t, "127.0.0.5")
		return isDone()
	})
	a.creditTimes(1, "user:u1")
	err := clients.Wait()
	if err != nil {
		t.Error(err)
	}
}

// crowd are clients that connect, a few at a time, and then wait for an event. They read all the
// time, because the gateway closes clients that do not answer its pings.
type crowd struct {
	token     string
	seq       int64         // before the event
	isOpening chan struct{} // has a value for each client that connects
	isOpen    chan struct{} // gets a value from each client that has connected
}

// readSocket reads the event from a WebSocket.
func (c *crowd) readSocket(ctx context.Context, s *server, httpClient *http.Client) error {
	client := &resumingClient{account: "user:u1", token: c.token, lastSeq: c.seq}
	c.isOpening <- struct{}{}
	err := client.resume(ctx, s, httpClient, c.seq)
	<-c.isOpening
	defer closeAll([]*resumingClient{client})
	if err != nil {
		return err
	}
	c.isOpen <- struct{}{}
	return client.readUntilSeq(ctx, c.seq+1)
}

// readStream reads the event from server-sent events.
func (c *crowd) readStream(ctx context.Context, url string, httpClient *http.Client) error {
	c.isOpening <- struct{}{}
	stream, err := rawclient.OpenEventStream(ctx, url, c.token, fmt.Sprintf("user:u1=%d", c.seq), httpClient)
	<-c.isOpening
	if err != nil {
		return err
	}
	defer stream.Close()
	c.isOpen <- struct{}{}
	for {
		frame, err := stream.Next()
		if err != nil || frame.Op == "event" && frame.Seq == c.seq+1 {
			return err
		}
	}
}

// testDrain drains a gateway. Its clients move to the other one, and no new connection fails.
func (f *frontDoor) testDrain(t *testing.T, a *api) {
	f.w.waitUntil("the clients of other tests are gone", func() bool {
		return f.countConnections(f.gateways[0])+f.countConnections(f.gateways[1]) == 0
	})
	// Each gateway gets half of them, in turn.
	clients := make([]*rawClient, 8)
	for i := range clients {
		clients[i] = f.w.startClient(fmt.Sprintf("behind %s, %d", f.kind, i), []*server{f.server}, "user:u1")
	}
	drained := f.gateways[0]
	if f.countConnections(drained) == 0 {
		t.Fatal("no client is connected with the gateway that drains")
	}
	f.drain(drained)
	connect := func() { f.connectOnce(t, "127.0.0.6") }
	for range 20 {
		connect()
	}
	f.w.waitUntil("the clients have moved", func() bool {
		connect()
		return f.countConnections(drained) == 0
	})
	if f.kind == "haproxy" {
		f.w.waitUntil("the health check has noticed", func() bool {
			connect()
			return f.w.readMetric(f.server, `haproxy_server_status{proxy="gateways",server="gateway-1",state="DOWN"}`) == 1
		})
	}
	seq := a.readBalance("user:u1").Seq
	a.creditTimes(1, "user:u1")
	moved := 0
	for _, c := range clients {
		c.waitForSeq("user:u1", seq+1)
		for _, code := range c.closeCodes() {
			moved++
			checkEqual(t, "close code", code, websocket.StatusServiceRestart)
		}
	}
	if moved == 0 {
		t.Error("got no client that moved, want some")
	}
}

// connectOnce opens a WebSocket and closes it. The first attempt must succeed.
func (f *frontDoor) connectOnce(t *testing.T, address string) {
	t.Helper()
	_ = f.dial(t, f.clientFrom(t, address), "").CloseNow()
}

// countConnections returns how many connections a gateway has.
func (f *frontDoor) countConnections(g *server) int {
	f.w.Helper()
	body := f.w.getBody("http://"+g.admin+"/admin/stats", f.w.signToken("ops", nil, "admin"), http.StatusOK)
	connections, isNumber := f.w.decodeObject(body)["connections"].(float64)
	if !isNumber {
		f.w.Fatalf("got %s, want the number of connections", body)
	}
	return int(connections)
}

// drain makes a gateway drain its clients.
func (f *frontDoor) drain(g *server) {
	f.w.Helper()
	req, err := http.NewRequestWithContext(f.w.Context(), http.MethodPost, "http://"+g.admin+"/admin/drain", strings.NewReader(`{}`))
	if err != nil {
		f.w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.w.signToken("ops", nil, "admin"))
	resp, err := f.w.http.Do(req)
	if err != nil {
		f.w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	checkEqual(f.w, "status of the drain", resp.StatusCode, http.StatusOK)
}
