package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/rawclient"
)

var storm = flag.Int("storm", 500, "how many clients TestStorm connects at once")

// TestStorm has many clients resume at once at a gateway that has just started. Each client gets
// the events that it missed and the new ones, once and in order, without a resync.
func TestStorm(t *testing.T) {
	if *storm <= 500 {
		t.Parallel()
	}
	w := newWorld(t)
	core := w.startCore()
	a := w.newAPI(core)
	accounts := make([]string, *storm)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("user:s%d", i)
	}
	for range 3 {
		a.creditAll(accounts)
	}
	w.waitUntilPublished()
	g := w.startGateway(core.baseURL())

	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	clients := make([]*resumingClient, len(accounts))
	for i, account := range accounts {
		clients[i] = &resumingClient{account: account, token: w.signToken("app", []string{account}), lastSeq: 1}
	}
	start := time.Now()
	var running errgroup.Group
	for _, c := range clients {
		running.Go(func() error { return c.resume(ctx, g, &http.Client{Transport: transport}, 3) })
	}
	err := running.Wait()
	duration := time.Since(start).Round(time.Millisecond)
	defer closeAll(clients)
	if err != nil {
		t.Fatal(err)
	}
	failedDials := 0
	for _, c := range clients {
		failedDials += c.failedDials
	}
	t.Logf("%d clients had resumed after %s; %d dials failed", len(clients), duration, failedDials)

	a.creditAll(accounts)
	for _, c := range clients {
		running.Go(func() error { return c.readUntilSeq(ctx, 4) })
	}
	err = running.Wait()
	if err != nil {
		t.Error(err)
	}
	checkEqual(t, "resyncs", w.readMetric(g, "realtime_gateway_resyncs_total"), 0)
}

// resumingClient is a client that has its account's events up to lastSeq.
type resumingClient struct {
	account     string
	token       string
	lastSeq     int64
	failedDials int
	socket      *rawclient.Socket
}

func closeAll(clients []*resumingClient) {
	for _, c := range clients {
		if c.socket != nil {
			c.socket.Close()
		}
	}
}

// resume connects and reads the events that the client missed, up to seq.
func (c *resumingClient) resume(ctx context.Context, g *server, httpClient *http.Client, seq int64) error {
	for c.socket == nil {
		socket, err := rawclient.Dial(ctx, g.baseURL(), c.token, httpClient)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", c.account, err)
		case err != nil:
			// Ten thousand clients on the gateway's machine delay each other's handshakes beyond their
			// timeouts.
			c.failedDials++
		default:
			c.socket = socket
		}
	}
	subscribe := rawclient.Subscribe{Sub: "wallet", After: map[string]int64{c.account: c.lastSeq}}
	err := c.socket.Send(ctx, subscribe)
	if err != nil {
		return fmt.Errorf("%s: %w", c.account, err)
	}
	return c.readUntilSeq(ctx, seq)
}

// readUntilSeq reads until the client has that seq. A frame other than the next event is an error.
func (c *resumingClient) readUntilSeq(ctx context.Context, seq int64) error {
	for c.lastSeq < seq {
		f, err := c.socket.Next(ctx)
		if err != nil {
			return fmt.Errorf("%s after seq %d: %w", c.account, c.lastSeq, err)
		}
		switch {
		case f.Op == "welcome" || c.isResumed(&f):
		case f.Op == "event" && f.Account == c.account && f.Seq == c.lastSeq+1:
			c.lastSeq++
		default:
			return fmt.Errorf("%s after seq %d: unexpected frame %s", c.account, c.lastSeq, f.Text)
		}
	}
	return nil
}

// isResumed reports whether the frame confirms that the account resumes after the client's last
// seq.
func (c *resumingClient) isResumed(f *rawclient.Frame) bool {
	return f.Op == "subscribed" && len(f.Accounts) == 1 && f.Accounts[0].Recovered && f.Accounts[0].Seq == c.lastSeq
}

// creditAll credits each account once, in batches of 1,000 operations.
func (a *api) creditAll(accounts []string) {
	a.w.Helper()
	var wg sync.WaitGroup
	for batch := range slices.Chunk(accounts, 1000) {
		wg.Go(func() {
			err := a.sendBatch(newCredits(1, batch))
			if err != nil {
				a.w.Errorf("batch of %d credits: %v", len(batch), err)
			}
		})
	}
	wg.Wait()
}
