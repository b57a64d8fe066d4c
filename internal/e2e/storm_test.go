package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

var storm = flag.Int("storm", 500, "how many clients TestStorm brings back at once; the issue names 10,000")

// TestStorm has clients come back with after, all at once, to a gateway that has just started. Each gets what it missed and what
// comes then, once and in order, without a resync.
func TestStorm(t *testing.T) {
	if *storm <= 500 {
		t.Parallel()
	}
	w := newWorld(t)
	core := w.core()
	a := w.api(core)
	accounts := make([]string, *storm)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("user:s%d", i)
	}
	for range 3 {
		a.creditAll(accounts)
	}
	w.eventually("the outbox is empty", func() bool { return w.outbox() == 0 })
	g := w.gateway(core.url())

	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	clients := make([]*returning, len(accounts))
	for i, account := range accounts {
		clients[i] = &returning{account: account, token: w.token("app", []string{account}), last: 1}
	}
	begin := time.Now()
	var all errgroup.Group
	for _, c := range clients {
		all.Go(func() error { return c.comeBack(ctx, g, &http.Client{Transport: transport}) })
	}
	err := all.Wait()
	took := time.Since(begin)
	defer func() {
		for _, c := range clients {
			if c.ws != nil {
				_ = c.ws.CloseNow()
			}
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	again := 0
	for _, c := range clients {
		again += c.again
	}
	t.Logf("%d clients were back and had what they missed after %s; %d dials failed", len(clients), took.Round(time.Millisecond), again)
	a.creditAll(accounts)
	for _, c := range clients {
		all.Go(func() error { return c.upTo(ctx, 4) })
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if n := w.metric(g, "gateway_resyncs_total"); n != 0 {
		t.Errorf("%v resyncs", n)
	}
}

// returning is a client that was away and has its account's events up to last.
type returning struct {
	account, token string
	last           int64
	again          int // dials that failed
	ws             *websocket.Conn
	pending        []frame
}

func (c *returning) comeBack(ctx context.Context, g *server, via *http.Client) error {
	for c.ws == nil {
		ws, _, err := websocket.Dial(ctx, g.url()+"/v1/ws", &websocket.DialOptions{
			HTTPClient: via, HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}, Subprotocols: []string{"wallet.v1"},
		})
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", c.account, err)
		case err != nil:
			// Ten thousand clients on the machine of the gateway keep each other from sending their handshakes in time.
			c.again++
		default:
			c.ws = ws
		}
	}
	subscribe := fmt.Sprintf(`{"op":"subscribe","sub":"wallet","after":{%q:%d}}`, c.account, c.last)
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(subscribe)); err != nil {
		return fmt.Errorf("%s: %w", c.account, err)
	}
	return c.upTo(ctx, 3)
}

// upTo reads until the client has that seq. Anything but the next event is an error.
func (c *returning) upTo(ctx context.Context, seq int64) error {
	for c.last < seq {
		f, err := c.next(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%s after %d: %w", c.account, c.last, err)
		case f.Op == "welcome":
		case f.Op == "subscribed" && len(f.Accounts) == 1 && f.Accounts[0].Recovered && f.Accounts[0].Seq == c.last:
		case f.Op == "event" && f.Account == c.account && f.Seq == c.last+1:
			c.last++
		default:
			return fmt.Errorf("%s after %d: %+v", c.account, c.last, f)
		}
	}
	return nil
}

func (c *returning) next(ctx context.Context) (f frame, err error) {
	if len(c.pending) == 0 {
		_, message, err := c.ws.Read(ctx)
		if err != nil {
			return frame{}, err
		}
		for line := range bytes.SplitSeq(message, []byte("\n")) {
			if err := json.Unmarshal(line, &f); err != nil {
				return frame{}, fmt.Errorf("%s: %w", line, err)
			}
			c.pending = append(c.pending, f)
			f = frame{}
		}
	}
	f, c.pending = c.pending[0], c.pending[1:]
	return f, nil
}

// creditAll credits each account once.
func (a *api) creditAll(accounts []string) {
	a.w.Helper()
	var wg sync.WaitGroup
	for some := range slices.Chunk(accounts, 1000) {
		wg.Go(func() {
			operations := make([]object, len(some))
			for i, account := range some {
				operations[i] = object{"operation": "credit", "idempotencyKey": newKey(), "account": account, "amount": 1, "reason": "admin_credit"}
			}
			body, err := json.Marshal(object{"operations": operations})
			if err != nil {
				a.w.Error(err)
				return
			}
			req, err := http.NewRequestWithContext(a.w.Context(), http.MethodPost, a.base+"/v1/batch", bytes.NewReader(body))
			if err != nil {
				a.w.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+a.token)
			resp, err := a.w.http.Do(req)
			if err != nil {
				a.w.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			answer, err := io.ReadAll(resp.Body)
			if n := bytes.Count(answer, []byte(`"status":201`)); err != nil || n != len(some) {
				a.w.Errorf("batch: %s, %d of %d done, %v", resp.Status, n, len(some), err)
			}
		})
	}
	wg.Wait()
}
