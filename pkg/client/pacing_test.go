package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newModelClient returns a client of a model gateway with the accounts.
func newModelClient(t *testing.T, accounts ...string) (*Client, *modelGateway) {
	t.Helper()
	g := &modelGateway{ledger: newModelLedger(accounts...), conns: map[*modelConn]bool{}}
	c, err := New("ws://model/v1/ws", Config{
		Token:  func(context.Context) (string, error) { return "t", nil },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		dial:   g.dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, g
}

// A gateway closes a connection that sends more than 20 frames a second after a burst of 40.
func TestFramesStayBelowTheLimitOfTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g := newModelClient(t, accountA)
		defer c.Close()
		synctest.Wait()
		began := time.Now()
		for range 100 {
			addAndRemove(c)
		}
		synctest.Wait()
		for range 20 {
			g.mu.Lock()
			allowed := 40 + 20*int(time.Since(began)/time.Second)
			received := g.frames
			g.mu.Unlock()
			if received > allowed {
				t.Fatalf("got %d frames after %v, want at most %d", received, time.Since(began), allowed)
			}
			passTime(time.Second)
		}
		synctest.Wait()
		// A subscription whose frame was still waiting when it ended has sent none.
		if g.frames < 2 || g.frames > 2*35 {
			t.Errorf("got %d frames, want those of the subscriptions that were sent", g.frames)
		}
		if n := len(c.conn.frames.waiting); n != 0 {
			t.Errorf("%d frames still wait", n)
		}
	})
}

// addAndRemove opens a subscription and ends it.
func addAndRemove(c *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.addSubscription(Filter{Accounts: []string{accountA}}, &eventReader{size: 1, wake: make(chan struct{}, 1)})
	s.remove()
}

// A frame subscribe with 64 positions of long names would be over the 16 KiB of a message, and the
// gateway would close each connection.
func TestPositionsThatDoNotFitAreLeftOut(t *testing.T) {
	s := &subscription{name: "1", positions: map[string]Position{}}
	for i := range 64 {
		account := "user:" + strings.Repeat("x", 120) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		s.filter.Accounts = append(s.filter.Accounts, account)
		s.positions[account] = Position{Seq: 1 << 40, Chain: "9f3ab2c1d4e5f607"}
	}
	frame := s.encodeSubscribe()
	if len(frame) > 16<<10 {
		t.Errorf("got a frame of %d bytes, want at most 16 KiB", len(frame))
	}
	if len(s.sentAfter) != 0 || strings.Contains(string(frame), "after") {
		t.Errorf("got a frame with %d positions, want none", len(s.sentAfter))
	}

	s.filter.Accounts = s.filter.Accounts[:20]
	for _, account := range s.filter.Accounts {
		s.positions = map[string]Position{account: {Seq: 1}}
	}
	if !strings.Contains(string(s.encodeSubscribe()), "after") {
		t.Error("got a frame without the positions, which fit")
	}
}

func TestAClosedBalanceEndsItsLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newModelClient(t, accountA)
		defer c.Close()
		closed := c.Balance(accountA)
		other := c.Balance(accountA)
		defer other.Close()
		ended := make(chan BalanceState, 1)
		go func() {
			var last BalanceState
			for last = range closed.Changes(t.Context()) {
			}
			ended <- last
		}()
		synctest.Wait()
		closed.Close()
		if last := <-ended; last.Status != BalanceFailed || !errors.Is(last.Err, ErrClosed) {
			t.Errorf("got %+v last, want ErrClosed", last)
		}
		if got := closed.Get(); got.Status != BalanceFailed {
			t.Errorf("got %+v, want a failed balance", got)
		}
		if got := other.Get(); got.Status != BalanceLive {
			t.Errorf("got %+v of the other user, want a live balance", got)
		}
	})
}

func TestEventsDecodeWithUnusualMetadata(t *testing.T) {
	for name, metadata := range map[string]string{
		"a name twice":  `{"a":1,"a":2}`,
		"invalid UTF-8": "{\"a\":\"\xff\"}",
	} {
		t.Run(name, func(t *testing.T) {
			e, err := DecodeEvent([]byte(`{"eventType":"wallet.escrow_held","amount":7,"metadata":` + metadata + `,"more":null}`))
			if err != nil {
				t.Fatal(err)
			}
			held, ok := e.(*EscrowHeld)
			if !ok || held.Amount != 7 || string(held.Metadata) != metadata {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"99999":                         maxRetryAfter,
		"99999999999999999999":          0,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute,
		"Wed, 31 Dec 2025 00:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(header, now); got != want {
			t.Errorf("Retry-After %q: got %v, want %v", header, got, want)
		}
	}
}
