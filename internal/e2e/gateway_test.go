package e2e

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

// TestGatewaysRestart stops and kills gateways while operations are done. Clients connect to
// another gateway, or to the same one when it is back.
func TestGatewaysRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.startCore()
	coreURL := w.startComparingProxy(core)
	gateways := []*server{w.startGateway(coreURL), w.startGateway(coreURL)}
	a := w.newAPI(core)
	users := accountNames("user", 3)
	models := accountNames("model", 2)
	accounts := slices.Concat(users, models)
	flags := []string{"--core-url", core.baseURL()}
	ofFirst := w.startClient("of the first gateway", gateways[:1], accounts...)
	ofBoth := w.startClient("of both gateways", gateways, accounts...)
	ofSecond := w.startClient("of the second gateway first", []*server{gateways[1], gateways[0]}, accounts...)
	l := w.startLoad(8, []*api{a}, users, models)

	l.waitForWrites(100)
	ofFirst.waitForReconnect(func() {
		gateways[0].stopProcess()
		l.waitForWrites(50)
		gateways[0].startProcess(flags...)
	})
	checkEqual(t, "close code of a gateway that stops", ofFirst.closeCodes()[0], websocket.StatusServiceRestart)
	l.waitForWrites(50)
	ofFirst.waitForReconnect(func() {
		gateways[0].killProcess()
		l.waitForWrites(50)
		gateways[0].startProcess(flags...)
	})
	ofSecond.waitForReconnect(gateways[1].killProcess)
	ofBoth.waitUntil("connected again", func() bool { return ofBoth.connections > 1 })
	l.waitForWrites(50)
	gateways[1].startProcess(flags...)
	late := w.startClient("after the restarts", gateways[1:], accounts...)
	l.waitForWrites(50)
	l.checkRetries(a)
	clients := []*rawClient{ofFirst, ofBoth, ofSecond, late}
	w.checkAgreement(a, w.newStreamReader(), accounts, clients...)
	for _, c := range clients {
		t.Logf("client %s connected %d times", c.name, c.connections)
	}
}

// TestGatewayWithoutCore has the gateway serve its memory while the core is down, and history when
// the core is back.
func TestGatewayWithoutCore(t *testing.T) {
	t.Parallel()
	const user = "user:u1"
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	c := w.startClient("app", []*server{gateway}, user)
	for range 5 {
		a.mustDo(newCredit(user, 10))
	}
	c.waitForSeq(user, 5)
	core.killProcess()
	fresh := w.startClient("fresh", []*server{gateway}, user)
	w.getBody(gateway.baseURL()+"/v1/accounts/"+user+"/balance", c.token, http.StatusOK)
	gateway.killProcess()
	gateway.startProcess("--core-url", core.baseURL()) // it fills its memory from the streams
	core.startProcess()
	a.mustDo(newCredit(user, 10))
	w.checkAgreement(a, w.newStreamReader(), []string{user}, c, fresh)
}

// TestHistoryComesFromTheCore has clients resume from a seq that neither the gateway's memory nor
// the streams have.
func TestHistoryComesFromTheCore(t *testing.T) {
	t.Parallel()
	const user = "user:u1"
	w := newWorld(t)
	core := w.startCore()
	link, coreURL := w.startProxy(core.baseURL())
	gateway := w.startGateway(coreURL)
	a := w.newAPI(core)
	exact := w.startClient("exact", []*server{gateway}, user)
	lenient := w.startClient("lenient", []*server{gateway}, user)
	lenient.allowsResyncs = true
	a.creditTimes(3, user)
	for _, c := range []*rawClient{exact, lenient} {
		c.waitForSeq(user, 3)
		c.disconnect()
	}
	a.creditTimes(20, user)
	reader := w.newStreamReader()
	w.waitUntilPublished()
	reader.readAll()
	gateway.killProcess()
	w.trimStream(user, 0)
	gateway.startProcess("--core-url", coreURL)

	link.PauseRequests()
	before := lenient.connections
	lenient.connect()
	lenient.waitUntil("an answer without the core", func() bool {
		return lenient.resyncs > 0 || lenient.connections > before+1
	})
	link.Cut()
	link.Resume()
	exact.connect()
	a.creditTimes(3, user)
	w.checkAgreement(a, reader, []string{user}, exact, lenient)
	t.Logf("without the core: %d resyncs, %d connections", lenient.resyncs, lenient.connections)
}

// creditTimes credits each account n times.
func (a *api) creditTimes(n int, accounts ...string) {
	a.w.Helper()
	for range n {
		for _, account := range accounts {
			a.mustDo(newCredit(account, 10))
		}
	}
}

// trimStream deletes all but the newest entries of the account's stream.
func (w *world) trimStream(account string, keep int64) {
	w.Helper()
	err := w.rdb.XTrimMaxLen(w.Context(), w.streamKey(partitionOf(account)), keep).Err()
	if err != nil {
		w.Fatal(err)
	}
}

// TestSlowClientIsClosed has a client that does not read. The gateway closes it, and other clients
// of the same account lose nothing.
func TestSlowClientIsClosed(t *testing.T) {
	t.Parallel()
	const user = "user:u1"
	w := newWorld(t)
	core := w.startCore()
	gateway := w.startGateway(core.baseURL())
	a := w.newAPI(core)
	slow, _ := w.dialGateway(gateway, w.signToken(user, nil))
	err := slow.Write(t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"wallet"}`))
	if err != nil {
		t.Fatal(err)
	}
	c := w.startClient("app", []*server{gateway}, user)

	// Fill the gateway's send queue and the buffers of the network. The slow client reads again after
	// that, so the gateway can send a close frame.
	total := 0
	for w.readMetric(gateway, `realtime_gateway_drops_total{reason="slow_consumer"}`) == 0 {
		total += a.creditWithMetadata(user)
		c.waitForSeq(user, int64(total)) // the machine may be slow, but this client must get each event
		if total > 2000 {
			t.Fatalf("the slow client was not closed after %d events", total)
		}
	}
	frames, code := readToEnd(slow)
	// The gateway gives up a close frame that it cannot write within 5 s, and this test may need longer
	// until it reads again. Then the connection ends without a code.
	if code != 4413 && code != -1 {
		t.Errorf("close code of the slow client: got %d, want 4413 or none", code)
	}
	w.waitUntil("the gateway counts one connection that it closed with 4413", func() bool {
		return w.readMetric(gateway, `realtime_gateway_closes_total{code="4413"}`) == 1
	})
	if frames == 0 || frames >= total {
		t.Errorf("frames of the slow client: got %d, want more than 0 and less than %d", frames, total)
	}
	t.Logf("the slow client was closed after %d frames of at most %d", frames, total)
	w.checkAgreement(a, w.newStreamReader(), []string{user}, c)
	c.checkStayedConnected()
}

// creditWithMetadata makes a number of credits with 8 KB of metadata at once, and returns the
// number.
func (a *api) creditWithMetadata(user string) int {
	a.w.Helper()
	const n = 16
	metadata := object{"pad": strings.Repeat("x", 8000)}
	a.mustDoConcurrently(n, func() client.Operation {
		op := newCredit(user, 1)
		op.Metadata = metadata
		return op
	})
	return n
}

// TestSilentClientsAreClosed has a client that does not authenticate, and one that does not answer
// pings.
func TestSilentClientsAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateway := w.startGateway("http://" + testenv.FreeAddr(t)) // no core is needed
	start := time.Now()
	unauthenticated, _ := w.dialGateway(gateway, "")
	_, silent := w.dialGateway(gateway, w.signToken("silent", nil, "events:all"))
	_, code := readToEnd(unauthenticated)
	checkEqual(t, "close code of the client without a token", code, 4408)
	t.Logf("a client without a token was closed after %s", time.Since(start).Round(time.Second))

	// The gateway closes the connection at the second heartbeat without a pong. Heartbeats are 25 s
	// apart; the first one comes somewhat earlier.
	err := silent.SetReadDeadline(start.Add(5 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	err = readUntilClosed(silent)
	if err != nil {
		t.Errorf("client that does not answer pings: %v", err)
	}
	t.Logf("a client that does not answer pings was closed after %s", time.Since(start).Round(time.Second))
}

func TestSubscriptionLimitIsAFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateway := w.startGateway("http://"+testenv.FreeAddr(t), "--max-subscriptions", "1") // no core is needed
	ws, _ := w.dialGateway(gateway, w.signToken("app", nil, "events:all"))
	for _, sub := range []string{"a", "b"} {
		err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"`+sub+`","accounts":["*"]}`))
		if err != nil {
			t.Fatal(err)
		}
	}
	for answer := ""; !strings.Contains(answer, "too_many_subscriptions"); {
		_, message, err := ws.Read(t.Context())
		if err != nil {
			t.Fatalf("read after %q: %v", answer, err)
		}
		answer = string(message)
	}
}

func TestConnectionLimitIsAFlag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateway := w.startGateway("http://"+testenv.FreeAddr(t), "--max-connections", "1") // no core is needed
	w.dialGateway(gateway, w.signToken("app", nil, "events:all"))
	_, resp, err := websocket.Dial(t.Context(), gateway.baseURL()+"/v1/ws", nil)
	if err == nil {
		t.Fatal("second connection: got no error, want status 503")
	}
	checkEqual(t, "status of the second connection", resp.StatusCode, http.StatusServiceUnavailable)
}

// dialGateway connects without the model client. It also returns the underlying network connection.
func (w *world) dialGateway(g *server, bearer string) (*websocket.Conn, net.Conn) {
	w.Helper()
	var conn net.Conn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, network, addr)
		return conn, err
	}}
	w.Cleanup(transport.CloseIdleConnections)
	header := http.Header{}
	if bearer != "" {
		header.Set("Authorization", "Bearer "+bearer)
	}
	ws, _, err := websocket.Dial(w.Context(), g.baseURL()+"/v1/ws", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		HTTPHeader:   header,
		Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		w.Fatal(err)
	}
	ws.SetReadLimit(8 << 20)
	w.Cleanup(func() { _ = ws.CloseNow() })
	return ws, conn
}

// readToEnd reads until the connection ends. It returns the number of frames and the close code.
func readToEnd(ws *websocket.Conn) (frames int, code websocket.StatusCode) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			return frames, websocket.CloseStatus(err)
		}
		frames += strings.Count(string(message), "\n") + 1
	}
}

// readUntilClosed reads bytes without the WebSocket library, so that pings are not answered. It
// returns an error if the read deadline passes.
func readUntilClosed(conn net.Conn) error {
	buffer := make([]byte, 4096)
	for {
		_, err := conn.Read(buffer)
		if err == nil {
			continue
		}
		timeout, ok := err.(net.Error) //nolint:errorlint // a net.Conn does not wrap it
		if ok && timeout.Timeout() {
			return err
		}
		return nil
	}
}
