package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/pkg/client"
)

func TestBalanceFollowsSnapshotAndEvents(t *testing.T) {
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{})
	b := c.Balance("user:u1")
	defer b.Close()
	if got := b.Get().Status; got != client.BalanceLoading {
		t.Errorf("got status %s before the snapshot, want loading", got)
	}

	conn := s.accept()
	sub := conn.expectSubscribe(41)
	got, err := b.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Seq != 41 || got.Available != 959 || got.Escrow != 41 {
		t.Errorf("got balance %+v, want that of seq 41", got)
	}

	conn.send(heldFrame(sub, 42), heldFrame(sub, 43))
	awaitSeq(t, b, 43)
	if got := b.Get(); got.Available != 957 || got.Chain != chainAt(43) {
		t.Errorf("got balance %+v, want that of seq 43", got)
	}
}

// awaitSeq waits until a balance is live at a seq.
func awaitSeq(t testing.TB, b *client.LiveBalance, seq int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for state := range b.Changes(ctx) {
		if state.Status == client.BalanceLive && state.Seq == seq {
			return
		}
	}
	t.Fatalf("got balance %+v, want it to be live at seq %d", b.Get(), seq)
}

// readItems reads n items of a sequence.
func readItems(t testing.TB, c *client.Client, filter client.Filter, n int) []client.Item {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var items []client.Item
	for item, err := range c.Events(ctx, filter) {
		if err != nil {
			t.Fatalf("after %d items: %v", len(items), err)
		}
		items = append(items, item)
		if len(items) == n {
			break
		}
	}
	return items
}

func TestEventsResumeAfterACut(t *testing.T) {
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{})
	s.run(func() {
		conn := s.accept()
		sub := conn.expectSubscribe(41)
		conn.send(heldFrame(sub, 42), heldFrame(sub, 43))
		conn.conn.CloseNow()

		conn = s.accept()
		f := conn.expect("subscribe")
		if f.After["user:u1"] != 43 || f.Chain["user:u1"] != chainAt(43) {
			t.Errorf("got after %v and chain %v, want those of seq 43", f.After, f.Chain)
		}
		conn.send(recoveredFrame(f.Sub, 43), heldFrame(f.Sub, 44))
	})

	items := readItems(t, c, client.Filter{Accounts: []string{"user:u1"}}, 3)
	for i, item := range items {
		checkHeld(t, item, int64(42+i))
	}
}

// checkHeld checks an item that is an event of heldFrame.
func checkHeld(t testing.TB, item client.Item, seq int64) {
	t.Helper()
	held, ok := item.Event.(*client.EscrowHeld)
	if !ok || item.Seq != seq || item.Chain != chainAt(seq) || held.UserEscrowBalance != seq {
		t.Errorf("got item %+v, want the event with seq %d", item, seq)
	}
}

// A loop that does not read makes the client unsubscribe, and loses nothing.
func TestSlowReaderResumesFromItsQueue(t *testing.T) {
	const newest = 60
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{QueueSize: 2})
	unsubscribed := make(chan struct{})
	s.run(func() {
		conn := s.accept()
		for n := 0; ; n++ {
			f, err := conn.read()
			if err != nil {
				return // the test has ended
			}
			if f.Op == "unsubscribe" && n == 1 {
				close(unsubscribed)
			}
			if f.Op != "subscribe" {
				continue
			}
			after, isResumed := f.After["user:u1"]
			if !isResumed {
				after = 41
				conn.send(subscribedFrame(f.Sub, after))
			} else {
				conn.send(recoveredFrame(f.Sub, after))
			}
			for seq := after + 1; seq <= newest; seq++ {
				conn.send(heldFrame(f.Sub, seq))
			}
		}
	})

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seq := int64(41)
	for item, err := range c.Events(ctx, client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		seq++
		checkHeld(t, item, seq)
		if seq == 42 {
			<-unsubscribed
		}
		if seq == newest {
			break
		}
	}
}

func TestResyncReplacesTheState(t *testing.T) {
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{})
	s.run(func() {
		conn := s.accept()
		sub := conn.expectSubscribe(41)
		conn.send(resyncFrame(sub, 30, "history_changed"), heldFrame(sub, 31))
	})

	items := readItems(t, c, client.Filter{StartWithBalance: true}, 3)
	if items[0].Resync == nil || items[0].Resync.Reason != client.Started || items[0].Resync.Balance.Seq != 41 {
		t.Errorf("got %+v first, want the balance at seq 41", items[0])
	}
	if items[1].Resync == nil || items[1].Resync.Reason != client.HistoryChanged || items[1].Seq != 30 {
		t.Errorf("got %+v, want a resync to seq 30", items[1])
	}
	checkHeld(t, items[2], 31)
}

func TestDialReturnsWhatToChange(t *testing.T) {
	problem := func(status int, code, detail string) func(w http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"status":1,"code":"` + code + `","detail":"` + detail + `"}`))
			return true
		}
	}
	for name, tc := range map[string]struct {
		refuse func(w http.ResponseWriter) bool
		code   client.ErrorCode
		text   string
	}{
		"not found":     {func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusNotFound); return true }, "wrong_url", "/v1/ws"},
		"a web page":    {func(w http.ResponseWriter) bool { _, _ = w.Write([]byte("<html>")); return true }, "wrong_url", "/v1/ws"},
		"bad token":     {problem(401, "unauthorized", "the token has expired"), "unauthorized", "the token has expired"},
		"revoked token": {problem(403, "forbidden", "the token was revoked"), "forbidden", "revoked"},
		"overloaded":    {problem(503, "unavailable", "the gateway is draining"), "unavailable", "draining"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, tc.refuse)
			_, err := client.Dial(t.Context(), s.url, client.Config{Token: client.StaticToken("t1")})
			var got *client.Error
			if !errors.As(err, &got) {
				t.Fatalf("got error %v, want an *Error", err)
			}
			if got.Code != tc.code || !strings.Contains(got.Message, tc.text) {
				t.Errorf("got %v, want code %s and a text with %q", got, tc.code, tc.text)
			}
		})
	}
}

func TestNewRefusesAnImpossibleConfiguration(t *testing.T) {
	token := client.StaticToken("t1")
	for name, tc := range map[string]struct {
		url string
		cfg client.Config
	}{
		"http":     {"https://gateway.example.com/v1/ws", client.Config{Token: token}},
		"no path":  {"wss://gateway.example.com", client.Config{Token: token}},
		"no host":  {"wss:///v1/ws", client.Config{Token: token}},
		"no token": {"wss://gateway.example.com/v1/ws", client.Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(tc.url, tc.cfg)
			if err == nil {
				c.Close()
				t.Error("got no error")
			}
		})
	}
}

func TestARefusedStaticTokenEndsTheClient(t *testing.T) {
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{})
	b := c.Balance("user:u1")
	defer b.Close()
	s.run(func() {
		conn := s.accept()
		_ = conn.conn.Close(websocket.StatusCode(4401), "unauthorized")
	})
	_, err := b.Wait(t.Context())
	if !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("got error %v, want ErrUnauthorized", err)
	}
	if got := c.State().Name; got != client.StateClosed {
		t.Errorf("got state %s, want closed", got)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := startServer(t, nil)
	c := newClient(t, s.url, client.Config{})
	b := c.Balance("user:u1")
	defer b.Close()
	ended := make(chan error, 1)
	s.run(func() {
		for _, err := range c.Events(t.Context(), client.Filter{}) {
			ended <- err
		}
	})
	conn := s.accept()
	conn.expectSubscribe(41)
	conn.expectSubscribe(41)
	s.run(c.Close)
	_, _, err := conn.conn.Read(conn.ctx)
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("got %v, want the connection to be closed with 1000", err)
	}
	if err := <-ended; !errors.Is(err, client.ErrClosed) {
		t.Errorf("got error %v from Events, want ErrClosed", err)
	}
	c.Close()
	if got := b.Get(); got.Status != client.BalanceFailed || !errors.Is(got.Err, client.ErrClosed) {
		t.Errorf("got %+v, want a balance that failed with ErrClosed", got)
	}
}
