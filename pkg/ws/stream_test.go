package ws

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// source is a client of server-sent events.
type source struct {
	t     *testing.T
	body  *bufio.Reader
	close context.CancelFunc
	id    string // the last one
	retry string
	beats int // comments

	welcome map[string]any
}

func (g *gateway) get(query string, header http.Header) (*http.Response, context.CancelFunc) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	g.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.server.URL+"/v1/events?"+query, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header = header
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, cancel
}

// events opens a stream and reads its welcome.
func (g *gateway) events(t *testing.T, query, lastID string, accounts ...string) *source {
	t.Helper()
	h := bearer(mint(t, Identity{Subject: "app", Accounts: accounts}))
	if lastID != "" {
		h.Set("Last-Event-ID", lastID)
	}
	return g.open(t, query, h)
}

func (g *gateway) open(t *testing.T, query string, h http.Header) *source {
	t.Helper()
	resp, cancel := g.get(query, h)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	s := &source{t: t, body: bufio.NewReader(resp.Body), close: cancel}
	s.welcome = s.expect("welcome")
	return s
}

// next reads the next event's data, as an EventSource does.
func (s *source) next() (map[string]any, error) {
	var data string
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			return nil, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n" && data == "":
		case line == "\n":
			var f map[string]any
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				s.t.Fatalf("%q: %v", data, err)
			}
			return f, nil
		case field == "":
			s.beats++
		case field == "data":
			data += value
		case field == "id":
			s.id = value
		case field == "retry":
			s.retry = value
		default:
			s.t.Fatalf("line %q", line)
		}
	}
}

func (s *source) expect(op string) map[string]any {
	s.t.Helper()
	f, err := s.next()
	if err != nil || f["op"] != op {
		s.t.Fatalf("got %v %v, want op %s", f, err, op)
	}
	return f
}

func (s *source) expectEvents(account string, from, to int64) {
	s.t.Helper()
	for seq := from; seq <= to; seq++ {
		if f := s.expect("event"); f["account"] != account || f["seq"] != float64(seq) || f["sub"] != "wallet" {
			s.t.Fatalf("got %v, want %s %d", f, account, seq)
		}
	}
}

// expectEnd reads to the end, and wants the code before it.
func (s *source) expectEnd(code protocol.CloseCode) {
	s.t.Helper()
	var last map[string]any
	for {
		f, err := s.next()
		if err != nil {
			if last["op"] != "closed" || last["code"] != float64(code) || last["reason"] != code.Reason() {
				s.t.Fatalf("the last word was %v, want %d", last, code)
			}
			return
		}
		last = f
	}
}

func TestStreamResumes(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliver("user:u1", 2)
	s := g.events(t, "", "", "user:u1")
	a := subscribedTo(s.expect("subscribed"), 0)
	if a["seq"] != 2.0 || a["snapshot"] == nil || s.id != "user:u1=2" {
		t.Errorf("%v, id %q", a, s.id)
	}
	g.deliver("user:u1", 2)
	s.expectEvents("user:u1", 3, 4)
	if s.id != "user:u1=4" {
		t.Errorf("id %q", s.id)
	}
	s.close()
	eventually(t, "the client is gone", func() bool { return g.hub.Stats().Connections == 0 })
	g.deliver("user:u1", 3)
	s = g.events(t, "after=user:u1=1", "user:u1=4", "user:u1") // the header is newer than the URL
	if a := subscribedTo(s.expect("subscribed"), 0); a["seq"] != 4.0 || a["recovered"] != true {
		t.Error(a)
	}
	s.expectEvents("user:u1", 5, 7)
	s = g.events(t, "after=user:u1=6&snapshot=false", "", "user:u1")
	s.expect("subscribed")
	s.expectEvents("user:u1", 7, 7)
}

// Several accounts have one id, which holds as long as they are the same ones.
func TestStreamOfSeveralAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	s := g.events(t, "accounts=user:u2,user:u1&accounts=model:m1", "", "user:u1", "user:u2", "model:m1")
	s.expect("subscribed")
	g.deliver("user:u1", 2)
	s.expectEvents("user:u1", 1, 2)
	g.deliver("model:m1", 40)
	s.expectEvents("model:m1", 1, 40)
	id := s.id
	s.close()
	g.deliver("user:u2", 1)
	g.deliver("model:m1", 1)
	s = g.events(t, "accounts=model:m1,user:u1,user:u2", id, "user:u1", "user:u2", "model:m1")
	f := s.expect("subscribed")
	for i, want := range []float64{40, 2, 0} {
		if a := subscribedTo(f, i); a["seq"] != want || a["recovered"] != true {
			t.Errorf("%v, want %v", a, want)
		}
	}
	s.expectEvents("model:m1", 41, 41)
	s.expectEvents("user:u2", 1, 1)
	// Other accounts: begin anew, and say so.
	s = g.events(t, "accounts=model:m1,user:u1", id, "user:u1", "user:u2", "model:m1")
	if a := subscribedTo(s.expect("subscribed"), 0); a["recovered"] != false || a["seq"] != 41.0 {
		t.Error(a)
	}
	s = g.events(t, "", "model:m1=40,user:u9=1", "user:u1")
	if a := subscribedTo(s.expect("subscribed"), 0); a["recovered"] != false || a["seq"] != 2.0 {
		t.Error(a)
	}
	// By hand.
	s = g.events(t, "after="+url.QueryEscape("model:m1=40,user:u1=1"), "", "user:u1", "model:m1")
	s.expect("subscribed")
	s.expectEvents("user:u1", 2, 2)
	s.expectEvents("model:m1", 41, 41)
}

func TestStreamFilters(t *testing.T) {
	g := newGateway(t, Config{})
	s := g.events(t, "types=wallet.escrow_held,wallet.escrow_settled&reasons=admin_credit&features=chips&minAmount=30", "", "user:u1")
	s.expect("subscribed")
	g.deliver("user:u1", 5) // amounts 10 to 50; types turn with seq: held, settled, updated
	for _, seq := range []float64{4, 5} {
		if f := s.expect("event"); f["seq"] != seq {
			t.Errorf("%v, want %v", f, seq)
		}
	}
	all := g.open(t, "accounts=*", bearer(mint(t, Identity{Subject: "app", AllAccounts: true})))
	all.expect("subscribed")
	g.deliver("user:u9", 1)
	if f := all.expect("event"); f["account"] != "user:u9" || f["event"].(map[string]any)["full"] != true || all.id != "" {
		t.Errorf("%v, id %q", f, all.id)
	}
}

func TestStreamRefusals(t *testing.T) {
	g := newGateway(t, Config{MaxConnectionsPerAccount: 1})
	good := mint(t, Identity{Subject: "user:u1"})
	void := mint(t, Identity{Subject: "user:u2", TokenID: "void"})
	g.hub.Revoke(Revocation{TokenID: "void", Until: time.Now().Add(time.Hour)})
	g.login("user:u3")
	g.ledger.set(func(l *ledger) { l.coreAway = true })
	for name, c := range map[string]struct {
		query  string
		header http.Header
		status int
	}{
		"no token":             {"", nil, 401},
		"bad token":            {"", bearer("x.y.z"), 401},
		"bad token in the URL": {"access_token=x", nil, 401},
		"two tokens":           {"access_token=" + good, bearer(good), 400},
		"revoked":              {"", bearer(void), 403},
		"foreign page":         {"", http.Header{"Authorization": {"Bearer " + good}, "Origin": {"https://evil.example"}}, 403},
		"another's account":    {"accounts=user:u2", bearer(good), 403},
		"every account":        {"accounts=*", bearer(good), 403},
		"no account":           {"accounts=nonsense", bearer(good), 400},
		"65 accounts":          {"accounts=" + strings.Trim(list(65, "user:u%d"), "[]"), bearer(good), 400},
		"33 types":             {"types=" + strings.Trim(list(33, "t%d"), "[]"), bearer(good), 400},
		"unknown parameter":    {"type=x", bearer(good), 400},
		"malformed query":      {"types=%zz", bearer(good), 400},
		"minAmount twice":      {"minAmount=1&minAmount=2", bearer(good), 400},
		"minAmount as text":    {"minAmount=x", bearer(good), 400},
		"minAmount 0":          {"minAmount=0", bearer(good), 400},
		"snapshot maybe":       {"snapshot=1", bearer(good), 400},
		"a foreign id":         {"", http.Header{"Authorization": {"Bearer " + good}, "Last-Event-ID": {"17"}}, 400},
		"eight letters":        {"", http.Header{"Authorization": {"Bearer " + good}, "Last-Event-ID": {"nonsense"}}, 400},
		"a checksum alone":     {"", http.Header{"Authorization": {"Bearer " + good}, "Last-Event-ID": {"0123abcd"}}, 400},
		"a negative id":        {"after=user:u1=-1", bearer(good), 400},
		"after of others":      {"after=user:u2=1", bearer(good), 400},
		"after of all":         {"accounts=*&after=user:u1=1", bearer(mint(t, Identity{Subject: "app", AllAccounts: true})), 400},
		"nobody can tell":      {"", bearer(good), 503},
		"too many":             {"", bearer(mint(t, Identity{Subject: "user:u3"})), 429},
	} {
		resp, _ := g.get(c.query, c.header)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v, want %d", name, resp.StatusCode, resp.Header, c.status)
		}
		if c.status == 429 || c.status == 503 {
			if resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
		}
	}
	for query, header := range map[string]string{"after=foo": "", "": "foo"} { // the message names what is wrong
		h := bearer(good)
		named := "after"
		if header != "" {
			named = "Last-Event-ID"
			h.Set(named, header)
		}
		resp, _ := g.get(query, h)
		var body struct{ Detail string }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || !strings.HasPrefix(body.Detail, named+" must be an event id") {
			t.Errorf("%s %s: %q %v", query, header, body.Detail, err)
		}
	}
	resp, err := http.Head(g.server.URL + "/v1/events?access_token=" + good)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
		t.Errorf("HEAD: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if st := g.hub.Stats(); st.Connections != 1 || st.Subscriptions != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// A token in the URL is for EventSource, which cannot send a header.
func TestStreamEnds(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 200 * time.Millisecond})
	in := func(ttl time.Duration) *source {
		s := g.open(t, "access_token="+mint(t, Identity{Subject: "user:u1", ExpiresAt: time.Now().Add(ttl)}), nil)
		s.expect("subscribed")
		return s
	}
	s := in(2 * time.Second)
	s.expect("token_expiring")
	s.expectEnd(protocol.CloseUnauthorized)
	if s.beats < 2 {
		t.Errorf("%d heartbeats", s.beats)
	}
	s = in(time.Hour)
	g.hub.Disconnect("user:u1", "", "")
	s.expectEnd(protocol.CloseDisconnected)
	s = in(time.Hour)
	g.hub.Drain(t.Context(), 5*time.Millisecond)
	s.expect("reconnect")
	if s.retry != "5" {
		t.Errorf("retry %q", s.retry)
	}
	s.expectEnd(protocol.CloseRestart)
}

// A client that does not read is given up, in bounded memory, and the others get
// their events.
func TestStreamSlowConsumer(t *testing.T) {
	g := newGateway(t, Config{QueueBytes: 64 << 10, QueueEvents: 64})
	slow, other := g.events(t, "", "", "user:u1"), g.events(t, "", "", "user:u1")
	slow.expect("subscribed")
	other.expect("subscribed")
	var from int64 = 1
	for g.hub.Stats().Connections == 2 {
		for i := range g.ledger.publish("user:u1", 20) {
			d := g.ledger.events["user:u1"][from-1+int64(i)]
			d.View = fmt.Appendf(nil, `{"pad":"%s"}`, strings.Repeat("x", 3000))
			g.hub.Deliver([]busDelivery{d}, false)
		}
		other.expectEvents("user:u1", from, from+19)
		from += 20
	}
	for {
		if _, err := slow.next(); err != nil {
			break // cut off, or told so: it depends on what the network still took
		}
	}
	g.deliver("user:u1", 1)
	other.expectEvents("user:u1", from, from)
}

// overHTTP2 opens user:u1's stream over HTTP/2.
func overHTTP2(t *testing.T, g *gateway) *source {
	t.Helper()
	server := httptest.NewUnstartedServer(g.server.Config.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(mintFor(t, "user:u1"))
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Proto, resp.Status)
	}
	s := &source{t: t, body: bufio.NewReader(resp.Body)}
	s.expect("welcome")
	s.expect("subscribed")
	return s
}

// A write's deadline is over with the write: a stream on which nothing happens goes on.
func TestStreamOverHTTP2OutlivesItsWriteTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	g := newGateway(t, Config{WriteTimeout: timeout})
	s := overHTTP2(t, g)
	idle := time.NewTimer(3 * timeout)
	defer idle.Stop()
	<-idle.C
	g.ledger.publish("user:u1", 1)
	g.hub.Deliver(g.ledger.events["user:u1"], false)
	s.expect("event")
}

// Over HTTP/2 a write that takes too long fails with an error of the stream's own.
func TestStreamSlowConsumerOverHTTP2(t *testing.T) {
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{QueueBytes: 64 << 20, QueueEvents: 1 << 16, WriteTimeout: 300 * time.Millisecond, Registerer: reg})
	overHTTP2(t, g)
	g.ledger.publish("user:u1", 2000)
	batch := g.ledger.events["user:u1"]
	for i := range batch { // more than the client's 4 MiB window
		batch[i].View = fmt.Appendf(nil, `{"pad":"%s"}`, strings.Repeat("x", 6000))
	}
	g.hub.Deliver(batch, false)
	eventually(t, "the end", func() bool { return metric(t, reg, "gateway_closes_total", "4413") == 1 })
	if n := metric(t, reg, "gateway_limits_total", "write_timeout"); n != 1 {
		t.Errorf("write_timeout counted %v times", n)
	}
}
