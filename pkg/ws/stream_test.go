package ws

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redroomrewards/realtime/pkg/ws/internal/protocol"
)

// A streamClient is a client of server-sent events.
type streamClient struct {
	t          *testing.T
	body       *bufio.Reader
	close      context.CancelFunc
	lastID     string
	retry      string
	heartbeats int
	welcome    map[string]any
}

// requestStream requests an event stream.
func (g *gateway) requestStream(
	query string, header http.Header,
) (*http.Response, context.CancelFunc) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	g.t.Cleanup(cancel)
	u := g.server.URL + "/v1/events?" + query
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header = header
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, cancel
}

// openStreamFor opens a stream with a token for the accounts, and reads its welcome.
func (g *gateway) openStreamFor(
	t *testing.T, query, lastEventID string, accounts ...string,
) *streamClient {
	t.Helper()
	h := bearerHeader(mintTokenFor(t, accounts...))
	if lastEventID != "" {
		h.Set("Last-Event-ID", lastEventID)
	}
	return g.openStream(t, query, h)
}

// openStream opens a stream and reads its welcome.
func (g *gateway) openStream(t *testing.T, query string, h http.Header) *streamClient {
	t.Helper()
	resp, cancel := g.requestStream(query, h)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status: got %d, want 200", resp.StatusCode)
	}
	contentType := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(contentType, "text/event-stream") {
		t.Fatalf("Content-Type: got %q, want text/event-stream", contentType)
	}
	checkEqual(t, "Cache-Control", resp.Header.Get("Cache-Control"), "no-store")

	s := &streamClient{
		t:     t,
		body:  bufio.NewReader(resp.Body),
		close: cancel,
	}
	s.welcome = s.expectFrame("welcome")
	return s
}

// readFrame returns the data of the next event, as an EventSource does.
func (s *streamClient) readFrame() (map[string]any, error) {
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
			err := json.Unmarshal([]byte(data), &f)
			if err != nil {
				s.t.Fatalf("got data %q, want a JSON object: %v", data, err)
			}
			return f, nil
		case field == "":
			s.heartbeats++
		case field == "data":
			data += value
		case field == "id":
			s.lastID = value
		case field == "retry":
			s.retry = value
		default:
			s.t.Fatalf("got line %q, want a known field", line)
		}
	}
}

// expectFrame reads a frame with the op.
func (s *streamClient) expectFrame(op string) map[string]any {
	s.t.Helper()
	f, err := s.readFrame()
	if err != nil {
		s.t.Fatalf("got %v, want op %s", err, op)
	}
	if f["op"] != op {
		s.t.Fatalf("got %v, want op %s", f, op)
	}
	return f
}

// expectSubscribed reads the subscribed frame and checks its first account.
func (s *streamClient) expectSubscribed(seq float64, recovered bool) {
	s.t.Helper()
	a := subscribedAccount(s.expectFrame("subscribed"), 0)
	checkField(s.t, a, "seq", seq)
	checkField(s.t, a, "recovered", recovered)
}

// expectEvents reads the events of an account from the seq from to the seq to.
func (s *streamClient) expectEvents(account string, from, to int64) {
	s.t.Helper()
	for seq := from; seq <= to; seq++ {
		f := s.expectFrame("event")
		got := fmt.Sprint(f["sub"], f["account"], f["seq"])
		want := fmt.Sprint("wallet", account, float64(seq))
		if got != want {
			s.t.Fatalf("got %v, want event %d of %s", f, seq, account)
		}
	}
}

// expectEnd reads until the end. The last frame must be closed with the code.
func (s *streamClient) expectEnd(code protocol.CloseCode) {
	s.t.Helper()
	var last map[string]any
	for {
		f, err := s.readFrame()
		if err != nil {
			break
		}
		last = f
	}
	checkField(s.t, last, "op", "closed")
	checkField(s.t, last, "code", float64(code))
	checkField(s.t, last, "reason", code.Reason())
}

func TestStreamStartsWithSnapshot(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 2)
	s := g.openStreamFor(t, "", "", "user:u1")
	a := subscribedAccount(s.expectFrame("subscribed"), 0)
	checkField(t, a, "seq", 2.0)
	checkSnapshot(t, a)
	checkEqual(t, "id", s.lastID, "user:u1=2:"+chainOf("user:u1-2").String())

	g.deliverEvents("user:u1", 2)
	s.expectEvents("user:u1", 3, 4)
	checkEqual(t, "id", s.lastID, "user:u1=4:"+chainOf("user:u1-4").String())
	s.close()
	g.waitForConnections(0)
}

func TestStreamResumes(t *testing.T) {
	g := newGateway(t, Config{})
	g.deliverEvents("user:u1", 7)
	t.Run("after the header", func(t *testing.T) { // the header is newer than the URL
		s := g.openStreamFor(t, "after=user:u1=1", "user:u1=4", "user:u1")
		s.expectSubscribed(4, true)
		s.expectEvents("user:u1", 5, 7)
	})
	for _, name := range []string{"lastEventId", "Last-Event-ID"} {
		t.Run("after the parameter "+name, func(t *testing.T) { // it is newer than after
			s := g.openStreamFor(t, "after=user:u1=1&"+name+"=user:u1%3D5", "", "user:u1")
			s.expectSubscribed(5, true)
			s.expectEvents("user:u1", 6, 7)
		})
		t.Run("after the header instead of "+name, func(t *testing.T) {
			s := g.openStreamFor(t, name+"=user:u1=5", "user:u1=4", "user:u1")
			s.expectSubscribed(4, true)
			s.expectEvents("user:u1", 5, 7)
		})
		t.Run("after the accounts of "+name, func(t *testing.T) {
			s := g.openStreamFor(t, name+"=user:u1=6,user:u9=1", "", "user:u1")
			s.expectSubscribed(6, true)
			s.expectEvents("user:u1", 7, 7)
		})
		t.Run("after an empty "+name, func(t *testing.T) { // before the first event
			s := g.openStreamFor(t, "after=user:u1=6&"+name+"=", "", "user:u1")
			s.expectSubscribed(6, true)
			s.expectEvents("user:u1", 7, 7)
		})
	}
	t.Run("after two equal parameters", func(t *testing.T) {
		s := g.openStreamFor(t, "lastEventId=user:u1=6&Last-Event-ID=user:u1=6", "", "user:u1")
		s.expectSubscribed(6, true)
	})
	t.Run("after the parameter", func(t *testing.T) {
		s := g.openStreamFor(t, "after=user:u1=6&snapshot=false", "", "user:u1")
		s.expectFrame("subscribed")
		s.expectEvents("user:u1", 7, 7)
	})
}

// A stream of several accounts has one id for all of them.
func TestStreamOfSeveralAccountsResumes(t *testing.T) {
	g := newGateway(t, Config{})
	accounts := []string{"user:u1", "user:u2", "model:m1"}
	query := "accounts=user:u2,user:u1&accounts=model:m1"
	s := g.openStreamFor(t, query, "", accounts...)
	s.expectFrame("subscribed")
	g.deliverEvents("user:u1", 2)
	s.expectEvents("user:u1", 1, 2)
	g.deliverEvents("model:m1", 40)
	s.expectEvents("model:m1", 1, 40)
	id := s.lastID
	s.close()
	g.deliverEvents("user:u2", 1)
	g.deliverEvents("model:m1", 1)

	t.Run("same accounts", func(t *testing.T) {
		s := g.openStreamFor(t, "accounts=model:m1,user:u1,user:u2", id, accounts...)
		f := s.expectFrame("subscribed")
		for i, seq := range []float64{40, 2, 0} {
			a := subscribedAccount(f, i)
			checkField(t, a, "seq", seq)
			checkField(t, a, "recovered", true)
		}
		s.expectEvents("model:m1", 41, 41)
		s.expectEvents("user:u2", 1, 1)
	})
	t.Run("fewer accounts", func(t *testing.T) {
		s := g.openStreamFor(t, "accounts=model:m1,user:u1", id, accounts...)
		s.expectSubscribed(41, false)
	})
	t.Run("ids of other accounts", func(t *testing.T) {
		s := g.openStreamFor(t, "", "model:m1=40,user:u9=1", "user:u1")
		s.expectSubscribed(2, false)
	})
	t.Run("position written by hand", func(t *testing.T) {
		query := "after=" + url.QueryEscape("model:m1=40,user:u1=1")
		s := g.openStreamFor(t, query, "", "user:u1", "model:m1")
		s.expectFrame("subscribed")
		s.expectEvents("user:u1", 2, 2)
		s.expectEvents("model:m1", 41, 41)
	})
}

func TestStreamFilters(t *testing.T) {
	g := newGateway(t, Config{})
	query := "types=wallet.escrow_held,wallet.escrow_settled&reasons=admin_credit" +
		"&features=chips&minAmount=30"
	s := g.openStreamFor(t, query, "", "user:u1")
	s.expectFrame("subscribed")
	g.deliverEvents("user:u1", 5) // the amounts are 10 to 50, and event 3 has another type
	s.expectEvents("user:u1", 4, 5)
}

func TestStreamOfAllAccounts(t *testing.T) {
	g := newGateway(t, Config{})
	token := mintToken(t, Identity{Subject: "app", AllAccounts: true})
	s := g.openStream(t, "accounts=*", bearerHeader(token))
	s.expectFrame("subscribed")
	g.deliverEvents("user:u9", 1)
	f := s.expectFrame("event")
	checkField(t, f, "account", "user:u9")
	payload, _ := f["event"].(map[string]any)
	checkField(t, payload, "full", true)
	checkEqual(t, "id", s.lastID, "")
}

// A token may be in the URL, because an EventSource cannot send headers.
func TestStreamWithTokenInURL(t *testing.T) {
	g := newGateway(t, Config{})
	s := g.openExpiringStream(t, time.Hour)
	g.hub.Disconnect("user:u1", "", "")
	s.expectEnd(protocol.CloseDisconnected)
}

// openExpiringStream opens a stream with a token in the URL.
func (g *gateway) openExpiringStream(t *testing.T, lifetime time.Duration) *streamClient {
	t.Helper()
	token := mintToken(t, Identity{
		Subject:   "user:u1",
		ExpiresAt: time.Now().Add(lifetime),
	})
	s := g.openStream(t, "access_token="+token, nil)
	s.expectFrame("subscribed")
	return s
}

func TestStreamEndsWithToken(t *testing.T) {
	g := newGateway(t, Config{HeartbeatInterval: 200 * time.Millisecond})
	s := g.openExpiringStream(t, 2*time.Second)
	s.expectFrame("token_expiring")
	s.expectEnd(protocol.CloseUnauthorized)
	if s.heartbeats < 2 {
		t.Errorf("heartbeats: got %d, want at least 2", s.heartbeats)
	}
}

func TestStreamEndsWithDrain(t *testing.T) {
	g := newGateway(t, Config{})
	s := g.openExpiringStream(t, time.Hour)
	g.hub.Drain(t.Context(), 5*time.Millisecond)
	s.expectFrame("reconnect")
	checkEqual(t, "retry", s.retry, "1000") // not 5
	s.expectEnd(protocol.CloseRestart)
}

// A browser keeps the delay of its last stream, so each stream sets it.
func TestStreamStartsWithNormalRetry(t *testing.T) {
	g := newGateway(t, Config{})
	s := g.openExpiringStream(t, time.Hour)
	checkEqual(t, "retry", s.retry, "3000")
}
