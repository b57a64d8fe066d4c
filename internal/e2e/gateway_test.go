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
)

// TestGatewaysRestart stops and kills gateways while operations go on. Clients go to another one, or to the same one
// when it is back.
func TestGatewaysRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateways := []*server{w.gateway(core.url()), w.gateway(core.url())}
	a := w.api(core)
	users, models := names("user", 3), names("model", 2)
	accounts := slices.Concat(users, models)
	flags := []string{"--core-url", core.url()}
	loyal := w.client("loyal", gateways[:1], accounts...)
	roaming := w.client("roaming", gateways, accounts...)
	other := w.client("other", []*server{gateways[1], gateways[0]}, accounts...)
	clients := []*client{loyal, roaming, other}
	l := w.load(8, []*api{a}, users, models)

	l.answers(100)
	loyal.reconnected(func() { gateways[0].stop(); l.answers(50); gateways[0].start(flags...) })
	if codes := loyal.ended(); codes[0] != websocket.StatusServiceRestart {
		t.Errorf("a gateway that stops closes with %v, want 1012", codes[0])
	}
	l.answers(50)
	loyal.reconnected(func() { gateways[0].kill(); l.answers(50); gateways[0].start(flags...) })
	other.reconnected(func() { gateways[1].kill() })
	roaming.await("connected", func() bool { return roaming.welcomed > 1 })
	l.answers(50)
	gateways[1].start(flags...)
	clients = append(clients, w.client("late", gateways[1:], accounts...))
	l.answers(50)
	l.settle(a)
	w.allAgree(a, w.consumer(), accounts, clients...)
	for _, c := range clients {
		t.Logf("%s was connected %d times", c.name, c.welcomed)
	}
}

// TestGatewayWithoutCore serves what it has while the core is down, and history when the core is back.
func TestGatewayWithoutCore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	const user = "user:u1"
	c := w.client("app", []*server{gateway}, user)
	for range 5 {
		a.do(credit(user, 10))
	}
	c.reaches(user, 5)
	core.kill()
	fresh := w.client("fresh", []*server{gateway}, user)
	w.get(gateway.url()+"/v1/accounts/"+user+"/balance", c.token, http.StatusOK)
	gateway.kill()
	gateway.start("--core-url", core.url()) // its memory comes from the streams
	core.start()
	a.do(credit(user, 10))
	w.allAgree(a, w.consumer(), []string{user}, c, fresh)
}

// TestHistoryComesFromTheCore has a client resume where neither the gateway's memory nor the streams go back to.
func TestHistoryComesFromTheCore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	link := w.proxy(core.url())
	gateway := w.gateway(w.through(link, core.url()))
	a := w.api(core)
	const user = "user:u1"
	exact, lenient := w.client("exact", []*server{gateway}, user), w.client("lenient", []*server{gateway}, user)
	lenient.mayLose = true
	earn := func(n int) {
		for range n {
			a.do(credit(user, 10))
		}
	}
	earn(3)
	for _, c := range []*client{exact, lenient} {
		c.reaches(user, 3)
		c.stop()
	}
	earn(20)
	stream := w.consumer()
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	stream.drain()
	gateway.kill()
	if err := w.rdb.XTrimMaxLen(t.Context(), w.stream(partition(user)), 0).Err(); err != nil {
		t.Fatal(err)
	}
	gateway.start("--core-url", w.through(link, core.url()))

	link.PauseRequests()
	before := lenient.welcomed
	w.start(lenient)
	lenient.await("an answer without the core", func() bool { return lenient.resyncs > 0 || lenient.welcomed > before+1 })
	link.Cut()
	link.Resume()
	w.start(exact)
	earn(3)
	w.allAgree(a, stream, []string{user}, exact, lenient)
	t.Logf("without the core: %d resyncs, %d connections", lenient.resyncs, lenient.welcomed)
}

// TestSlowClient has a client that does not read. It is closed with its code; the others do not notice.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	const user = "user:u1"
	slow, _ := w.dial(gateway, w.token(user, nil))
	if err := slow.Write(t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"wallet"}`)); err != nil {
		t.Fatal(err)
	}
	c := w.client("app", []*server{gateway}, user)

	// More than the gateway queues and the network takes. The slow client reads on once it was given up: then there is
	// time for a close frame.
	big := object{"metadata": object{"pad": strings.Repeat("x", 8000)}}
	total := 0
	for w.metric(gateway, `gateway_drops_total{reason="slow_consumer"}`) == 0 {
		const atOnce = 16
		a.together(atOnce, func() write { return with(credit(user, 1), big) })
		total += atOnce
		c.reaches(user, int64(total)) // it keeps up, however slow the machine is
		if total > 2000 {
			t.Fatalf("the slow client is not given up after %d events", total)
		}
	}
	frames := 0
	code := lastWords(slow, func(n int) { frames += n })
	if code != 4413 || frames == 0 || frames >= total {
		t.Errorf("the slow client got %d of %d frames and was closed with %d, want 4413", frames, total, code)
	}
	t.Logf("the slow client was closed when it had got %d frames of at most %d", frames, total)
	w.allAgree(a, w.consumer(), []string{user}, c)
	if codes := c.ended(); len(codes) > 0 {
		t.Errorf("the other client lost its connection: %v", codes)
	}
}

// TestSilentClients has clients that say nothing: neither who they are, nor that they are still there.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateway := w.gateway("http://" + testenv.FreeAddr(t)) // no core is needed
	begin := time.Now()
	nobody, _ := w.dial(gateway, "")
	_, silent := w.dial(gateway, w.token("silent", nil, "events:all"))
	if code := lastWords(nobody, nil); code != 4408 {
		t.Errorf("a client without a token was closed with %d, want 4408", code)
	}
	t.Logf("a client without a token was closed after %s", time.Since(begin).Round(time.Second))

	// Found out by its missing pongs, at its second heartbeat. They come every 25 s, the first one somewhat earlier.
	if err := silent.SetReadDeadline(begin.Add(75 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := untilCut(silent); err != nil {
		t.Errorf("a silent client: %v", err)
	}
	t.Logf("a silent client was cut off after %s", time.Since(begin).Round(time.Second))
}

// TestLimitsHaveFlags sets two limits and meets them.
func TestLimitsHaveFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateway := w.gateway("http://"+testenv.FreeAddr(t), "--max-subscriptions", "1", "--max-connections", "1") // no core is needed
	ws, _ := w.dial(gateway, w.token("app", nil, "events:all"))
	for _, sub := range []string{"a", "b"} {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","sub":"`+sub+`","accounts":["*"]}`)); err != nil {
			t.Fatal(err)
		}
	}
	for answer := ""; !strings.Contains(answer, "too_many_subscriptions"); {
		_, message, err := ws.Read(t.Context())
		if err != nil {
			t.Fatalf("after %q: %v", answer, err)
		}
		answer = string(message)
	}
	if _, resp, err := websocket.Dial(t.Context(), gateway.url()+"/v1/ws", nil); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the second connection: %v %v", resp, err)
	}
}

// dial connects without the model client. It returns the network connection below, too.
func (w *world) dial(g *server, bearer string) (*websocket.Conn, net.Conn) {
	w.Helper()
	var below net.Conn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		below = conn
		return conn, err
	}}
	w.Cleanup(transport.CloseIdleConnections)
	header := http.Header{}
	if bearer != "" {
		header.Set("Authorization", "Bearer "+bearer)
	}
	ws, _, err := websocket.Dial(w.Context(), g.url()+"/v1/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header, Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		w.Fatal(err)
	}
	ws.SetReadLimit(8 << 20)
	w.Cleanup(func() { _ = ws.CloseNow() })
	return ws, below
}

// lastWords reads to the end and returns the close code.
func lastWords(ws *websocket.Conn, frames func(int)) websocket.StatusCode {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			return websocket.CloseStatus(err)
		}
		if frames != nil {
			frames(strings.Count(string(message), "\n") + 1)
		}
	}
}

// untilCut reads bytes, past the library so that pings stay unanswered.
func untilCut(conn net.Conn) error {
	buffer := make([]byte, 4096)
	for {
		if _, err := conn.Read(buffer); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // a net.Conn returns it as it is
				return err
			}
			return nil
		}
	}
}
