package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// client is a model of a real one: it shows what it gets, resumes with the last seq that it has shown, and complains of
// whatever does not follow from what it has shown before.
type client struct {
	w        *world
	name     string
	gateways []string // tried in turn
	token    string
	accounts []string
	mayLose  bool // a resync is no error

	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // protects what follows
	shown    map[string][]shown
	last     map[string]int64 // newest seq; absent: never subscribed
	balances map[string]map[string]int64
	owed     map[string]bool // resync frames that a subscribed frame has promised
	welcomed int             // connections that were authenticated
	resyncs  int
	order    []json.RawMessage      // of events of ["*"]
	closes   []websocket.StatusCode // how connections ended; -1: without a close frame
}

// shown is one event on the screen.
type shown struct {
	seq   int64
	event json.RawMessage
	at    time.Time
}

type frame struct {
	Op       string          `json:"op"`
	Sub      string          `json:"sub"`
	Account  string          `json:"account"`
	Seq      int64           `json:"seq"`
	Event    json.RawMessage `json:"event"`
	Snapshot *balance        `json:"snapshot"`
	Reason   string          `json:"reason"`
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	Accounts []struct {
		Account   string   `json:"account"`
		Seq       int64    `json:"seq"`
		Recovered bool     `json:"recovered"`
		Snapshot  *balance `json:"snapshot"`
	} `json:"accounts"`
}

// client connects to the gateways, one at a time, and returns when it has subscribed to the accounts.
func (w *world) client(name string, gateways []*server, accounts ...string) *client {
	w.Helper()
	return w.start(w.newClient(name, gateways, accounts...))
}

func (w *world) newClient(name string, gateways []*server, accounts ...string) *client {
	w.Helper()
	c := &client{
		w: w, name: name, accounts: accounts, token: w.token(name, accounts),
		shown: map[string][]shown{}, last: map[string]int64{}, balances: map[string]map[string]int64{}, owed: map[string]bool{},
	}
	for _, g := range gateways {
		c.gateways = append(c.gateways, g.url())
	}
	return c
}

// start connects a client, for the first time or after stop.
func (w *world) start(c *client) *client {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go c.run(ctx)
	w.Cleanup(c.stop)
	c.await("subscribed", func() bool { return len(c.last) == len(c.accounts) })
	return c
}

// stop disconnects. It may be called twice.
func (c *client) stop() {
	c.cancel()
	<-c.done
}

func (c *client) run(ctx context.Context) {
	defer close(c.done)
	for n := 0; ctx.Err() == nil; n++ {
		err := c.connect(ctx, c.gateways[n%len(c.gateways)])
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.closes = append(c.closes, websocket.CloseStatus(err))
		c.mu.Unlock()
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// connect resumes at one gateway and shows events until the connection ends.
func (c *client) connect(ctx context.Context, gateway string) error {
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ws, _, err := websocket.Dial(dialing, gateway+"/v1/ws", &websocket.DialOptions{
		HTTPClient: c.w.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}, Subprotocols: []string{"wallet.v1"},
	})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(8 << 20)
	subscribe := object{"op": "subscribe", "sub": "wallet", "accounts": c.accounts}
	c.mu.Lock()
	after := object{}
	for account, seq := range c.last {
		after[account] = seq
	}
	c.mu.Unlock()
	if len(after) > 0 {
		subscribe["after"] = after
	}
	text, err := json.Marshal(subscribe)
	if err != nil {
		return err
	}
	if err := ws.Write(ctx, websocket.MessageText, text); err != nil {
		return err
	}
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(message, []byte("\n")) {
			if err := c.handle(line); err != nil {
				return err
			}
		}
	}
}

// handle takes one frame. An error has the client connect again.
func (c *client) handle(line []byte) error {
	at := time.Now()
	var f frame
	if err := json.Unmarshal(line, &f); err != nil {
		c.complain("a frame that is no JSON: %.200s", line)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Op {
	case "welcome":
		c.welcomed++
	case "subscribed":
		c.subscribed(&f)
	case "event":
		c.event(&f, at)
	case "resync":
		c.resync(&f)
	case "error":
		if f.Code != "snapshot_unavailable" {
			c.complain("error %s: %s", f.Code, f.Message)
		}
		return errors.New(f.Code) // try elsewhere
	case "reconnect", "pong", "token_expiring":
	default:
		c.complain("unknown frame %.200s", line)
	}
	return nil
}

func (c *client) complain(format string, args ...any) {
	c.w.Errorf("client %s: %s", c.name, fmt.Sprintf(format, args...))
}

func (c *client) subscribed(f *frame) {
	clear(c.owed)
	if len(f.Accounts) != len(c.accounts) {
		c.complain("subscribed to %d accounts, asked for %d", len(f.Accounts), len(c.accounts))
	}
	for _, a := range f.Accounts {
		last, resumed := c.last[a.Account]
		switch {
		case a.Account == "*":
			c.last["*"] = 0
		case resumed && a.Recovered && a.Seq != last:
			c.complain("%s: resumed at %d, asked for %d", a.Account, a.Seq, last)
		case resumed && !a.Recovered:
			c.owed[a.Account] = true
		case !resumed && a.Snapshot == nil:
			c.complain("%s: no snapshot", a.Account)
		case !resumed:
			c.last[a.Account] = a.Seq
			c.know(a.Account, a.Snapshot, a.Seq)
		}
	}
}

func (c *client) resync(f *frame) {
	c.resyncs++
	delete(c.owed, f.Account)
	if !c.mayLose {
		c.complain("%s: resync to %d after %d, where nothing may be lost", f.Account, f.Seq, c.last[f.Account])
	}
	if f.Snapshot == nil || f.Reason != "history_unavailable" || f.Seq < c.last[f.Account] {
		c.complain("%s: resync to %d after %d, reason %q, snapshot %v", f.Account, f.Seq, c.last[f.Account], f.Reason, f.Snapshot)
		return
	}
	c.last[f.Account] = f.Seq
	c.know(f.Account, f.Snapshot, f.Seq)
}

// know sets what the screen shows.
func (c *client) know(account string, b *balance, seq int64) {
	if b.AccountID != account || b.Seq != seq {
		c.complain("%s: snapshot of %s at %d, want it at %d", account, b.AccountID, b.Seq, seq)
	}
	c.balances[account] = map[string]int64{"available": b.AvailableBalance, "escrow": b.EscrowBalance, "earned": b.EarnedBalance}
}

// event shows an event, which must be the next one, and must change the balance that is shown.
func (c *client) event(f *frame, at time.Time) {
	if c.accounts[0] == "*" {
		c.order = append(c.order, f.Event)
		return
	}
	last, known := c.last[f.Account]
	switch {
	case !known || f.Sub != "wallet":
		c.complain("%s: event %d of subscription %q, which is not open", f.Account, f.Seq, f.Sub)
	case c.owed[f.Account]:
		c.complain("%s: event %d where a resync was owed", f.Account, f.Seq)
	case f.Seq <= last:
		c.complain("%s: event %d again, %d was shown", f.Account, f.Seq, last)
		return
	case f.Seq > last+1:
		c.complain("%s: event %d after %d: some are missing", f.Account, f.Seq, last)
	}
	c.last[f.Account] = f.Seq
	c.shown[f.Account] = append(c.shown[f.Account], shown{seq: f.Seq, event: f.Event, at: at})
	var e struct {
		EventType     string `json:"eventType"`
		AccountID     string `json:"accountId"`
		BalanceState  string `json:"balanceState"`
		BalanceBefore int64  `json:"balanceBefore"`
		BalanceAfter  int64  `json:"balanceAfter"`
		ChangeAmount  int64  `json:"changeAmount"`
	}
	if err := json.Unmarshal(f.Event, &e); err != nil {
		c.complain("event %d: %v", f.Seq, err)
	}
	if e.EventType != "wallet.balance_updated" {
		return
	}
	balances := c.balances[f.Account]
	if e.AccountID != f.Account || e.BalanceBefore != balances[e.BalanceState] || e.BalanceAfter != e.BalanceBefore+e.ChangeAmount {
		c.complain("%s: event %d changes %s by %d from %d to %d, where %d was shown",
			f.Account, f.Seq, e.BalanceState, e.ChangeAmount, e.BalanceBefore, e.BalanceAfter, balances[e.BalanceState])
	}
	balances[e.BalanceState] = e.BalanceAfter
}

// await waits until a condition on the client holds.
func (c *client) await(what string, holds func() bool) {
	c.w.Helper()
	c.w.eventually("client "+c.name+": "+what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return holds()
	})
}

// reaches waits until the account's event of that seq is shown, or a later one.
func (c *client) reaches(account string, seq int64) {
	c.w.Helper()
	c.await(fmt.Sprintf("event %d of %s", seq, account), func() bool { return c.last[account] >= seq })
}

// reconnected waits for another connection than the ones so far.
func (c *client) reconnected(action func()) {
	c.w.Helper()
	c.mu.Lock()
	before := c.welcomed
	c.mu.Unlock()
	action()
	c.await("connected again", func() bool { return c.welcomed > before })
}

// ended is how the client's connections have ended so far.
func (c *client) ended() []websocket.StatusCode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.closes)
}

// agrees compares what was shown with the ledger's history, byte by byte, and the balance with the ledger's.
func (c *client) agrees(account string, history []event, b balance) {
	c.w.Helper()
	c.reaches(account, int64(len(history)))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.shown[account] {
		if s.seq < 1 || s.seq > int64(len(history)) {
			c.complain("%s: event %d, which the ledger does not have", account, s.seq)
			return
		}
		if want := history[s.seq-1].Event; !bytes.Equal(s.event, want) {
			c.complain("%s: event %d is\n%s\nand in the ledger\n%s", account, s.seq, s.event, want)
		}
	}
	got := c.balances[account]
	if c.last[account] != b.Seq || got["available"] != b.AvailableBalance || got["escrow"] != b.EscrowBalance || got["earned"] != b.EarnedBalance {
		c.complain("%s: shows %v at %d, the ledger has %+v", account, got, c.last[account], b)
	}
}

func isModel(account string) bool { return strings.HasPrefix(account, "model:") }
