package e2e

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
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
	if !slices.Contains(loyal.closes, websocket.StatusGoingAway) {
		t.Errorf("a gateway that stops closes with %v, want 1001", loyal.closes)
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

// TestSlowAndSilentClients has clients that do not do their part. Each is closed with its code; the others do not notice.
func TestSlowAndSilentClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	core := w.core()
	gateway := w.gateway(core.url())
	a := w.api(core)
	const user = "user:u1"
	begin := time.Now()
	nobody, _ := w.dial(gateway, "")
	silent, silentConn := w.dial(gateway, w.token("silent", nil, "events:all"))
	slow, _ := w.dial(gateway, w.token(user, nil))
	subscribe := func(ws *websocket.Conn, accounts string) {
		t.Helper()
		frame := `{"op":"subscribe","sub":"wallet","accounts":["` + accounts + `"]}`
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	subscribe(silent, "user:nothing-happens-here")
	subscribe(slow, user)
	c := w.client("app", []*server{gateway}, user)

	// More than the gateway queues and the network takes. The slow client reads on once it was given up: then there is
	// time for a close frame.
	big := object{"metadata": object{"pad": strings.Repeat("x", 8000)}}
	given := make(chan struct{})
	var wg sync.WaitGroup
	var code websocket.StatusCode
	frames := 0
	wg.Go(func() {
		<-given
		code = lastWords(slow, func(n int) { frames += n })
	})
	writers := w.burst(a, func() write { return with(credit(user, 1), big) })
	w.eventually("the slow client is given up", func() bool {
		return w.metric(gateway, `gateway_drops_total{reason="slow_consumer"}`) > 0
	})
	close(given)
	total := writers()
	wg.Wait()
	if code != 4413 || frames == 0 || frames >= total {
		t.Errorf("the slow client got %d of %d frames and was closed with %d, want 4413", frames, total, code)
	}
	c.reaches(user, int64(total))
	if code := lastWords(nobody, nil); code != 4408 {
		t.Errorf("a client without a token was closed with %d, want 4408", code)
	}
	t.Logf("the slow client was closed when it had got %d frames of at most %d", frames, total)
	w.allAgree(a, w.consumer(), []string{user}, c)

	// A silent one is found out by its missing pongs, after two heartbeats at most and half of one at least.
	if err := silentConn.SetReadDeadline(begin.Add(75 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := untilCut(silentConn); err != nil {
		t.Errorf("a silent client: %v", err)
	}
	t.Logf("silent client cut off after %s", time.Since(begin).Round(time.Second))
	if len(c.closes) > 0 {
		t.Errorf("the other client lost its connection: %v", c.closes)
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
