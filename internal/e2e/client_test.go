package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/redroomrewards/realtime/internal/rawclient"
	"github.com/redroomrewards/realtime/pkg/client"
)

// rawClient is a model of a real client. It keeps the events that it receives and resumes with its
// last seqs. It fails the test if an event does not follow from the ones before it.
type rawClient struct {
	w             *world
	name          string
	gateways      []string // tried in turn
	token         string
	accounts      []string
	allowsResyncs bool

	cancel context.CancelFunc
	ended  chan struct{}

	mu          sync.Mutex // protects the fields below
	events      map[string][]receivedEvent
	lastSeqs    map[string]int64            // an account is missing until it is subscribed
	balances    map[string]map[string]int64 // by account and state
	owesResync  map[string]bool             // after a subscribed frame that announced a resync
	connections int                         // that were authenticated
	resyncs     int
	allEvents   []json.RawMessage      // of the subscription to all accounts, in order
	closes      []websocket.StatusCode // of all connections; -1: without a close frame
}

// receivedEvent is one event of an account.
type receivedEvent struct {
	seq   int64
	event json.RawMessage
	at    time.Time
}

// startClient connects a client to one of the gateways and returns when it has subscribed to the
// accounts.
func (w *world) startClient(name string, gateways []*server, accounts ...string) *rawClient {
	w.Helper()
	c := w.newClient(name, gateways, accounts...)
	c.connect()
	return c
}

func (w *world) newClient(name string, gateways []*server, accounts ...string) *rawClient {
	w.Helper()
	c := &rawClient{
		w:          w,
		name:       name,
		token:      w.signToken(name, accounts),
		accounts:   accounts,
		events:     map[string][]receivedEvent{},
		lastSeqs:   map[string]int64{},
		balances:   map[string]map[string]int64{},
		owesResync: map[string]bool{},
	}
	for _, g := range gateways {
		c.gateways = append(c.gateways, g.baseURL())
	}
	return c
}

// connect connects the client for the first time, or again after disconnect.
func (c *rawClient) connect() {
	c.w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.ended = make(chan struct{})
	go c.keepConnected(ctx)
	c.w.Cleanup(c.disconnect)
	c.waitUntil("subscribed", func() bool { return len(c.lastSeqs) == len(c.accounts) })
}

// disconnect closes the connection. It may be called twice.
func (c *rawClient) disconnect() {
	c.cancel()
	<-c.ended
}

// keepConnected connects to the gateways in turn until ctx ends.
func (c *rawClient) keepConnected(ctx context.Context) {
	defer close(c.ended)
	for n := 0; ctx.Err() == nil; n++ {
		err := c.runConnection(ctx, c.gateways[n%len(c.gateways)])
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

// runConnection subscribes at one gateway and handles frames until the connection ends.
func (c *rawClient) runConnection(ctx context.Context, gateway string) error {
	dialCtx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	socket, err := rawclient.Dial(dialCtx, gateway, c.token, c.w.http)
	if err != nil {
		return err
	}
	defer socket.Close()
	err = socket.Send(ctx, c.newSubscribe())
	if err != nil {
		return err
	}
	for {
		f, err := socket.Next(ctx)
		if errors.Is(err, rawclient.ErrBadFrame) {
			c.reportError("%v", err)
		}
		if err != nil {
			return err
		}
		err = c.handleFrame(&f)
		if err != nil {
			return err
		}
	}
}

// newSubscribe resumes the accounts that were subscribed before.
func (c *rawClient) newSubscribe() rawclient.Subscribe {
	subscribe := rawclient.Subscribe{Sub: "wallet", Accounts: c.accounts}
	c.mu.Lock()
	defer c.mu.Unlock()
	for account, seq := range c.lastSeqs {
		subscribe.Resume(account, seq, "")
	}
	return subscribe
}

// handleFrame handles one frame. After an error the client connects again.
func (c *rawClient) handleFrame(f *rawclient.Frame) error {
	at := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Op {
	case "welcome":
		c.connections++
	case "subscribed":
		c.handleSubscribed(f)
	case "event":
		c.handleEvent(f, at)
	case "resync":
		c.handleResync(f)
	case "error":
		if !f.HasCode("snapshot_unavailable") {
			c.reportError("got the frame %s", f)
		}
		return errors.New(f.Message)
	case "reconnect", "pong", "token_expiring":
	default:
		c.reportError("got an unknown frame: %s", f)
	}
	return nil
}

func (c *rawClient) reportError(format string, args ...any) {
	c.w.Errorf("client %s: %s", c.name, fmt.Sprintf(format, args...))
}

func (c *rawClient) handleSubscribed(f *rawclient.Frame) {
	clear(c.owesResync)
	checkEqual(c.w, "client "+c.name+": subscribed accounts", len(f.Accounts), len(c.accounts))
	for _, a := range f.Accounts {
		last, resumed := c.lastSeqs[a.Account]
		switch {
		case a.Account == "*":
			c.lastSeqs["*"] = 0
		case resumed && a.Recovered:
			checkEqual(c.w, "client "+c.name+": seq from which "+a.Account+" resumes", a.Seq, last)
		case resumed:
			c.owesResync[a.Account] = true
		case a.Snapshot == nil:
			c.reportError("%s: got no snapshot", a.Account)
		default:
			c.lastSeqs[a.Account] = a.Seq
			c.setBalance(a.Account, a.Snapshot, a.Seq)
		}
	}
}

func (c *rawClient) handleResync(f *rawclient.Frame) {
	last := c.lastSeqs[f.Account]
	c.resyncs++
	delete(c.owesResync, f.Account)
	if !c.allowsResyncs {
		c.reportError("%s: got a resync from seq %d to %d, want the events between", f.Account, last, f.Seq)
	}
	if f.Reason != "history_unavailable" {
		c.reportError("%s: got a resync with reason %q, want history_unavailable", f.Account, f.Reason)
	}
	if f.Seq < last {
		c.reportError("%s: got a resync to seq %d, want at least %d", f.Account, f.Seq, last)
		return
	}
	if f.Snapshot == nil {
		c.reportError("%s: got a resync without a snapshot", f.Account)
		return
	}
	c.lastSeqs[f.Account] = f.Seq
	c.setBalance(f.Account, f.Snapshot, f.Seq)
}

// setBalance sets the balance of an account from a snapshot.
func (c *rawClient) setBalance(account string, b *client.Balance, seq int64) {
	checkEqual(c.w, "client "+c.name+": account of the snapshot", b.Account, account)
	checkEqual(c.w, "client "+c.name+": seq of the snapshot of "+account, b.Seq, seq)
	c.balances[account] = map[string]int64{
		"available": b.Available,
		"escrow":    b.Escrow,
		"earned":    b.Earned,
	}
}

// handleEvent keeps an event. It must be the account's next one, and must change its balance.
func (c *rawClient) handleEvent(f *rawclient.Frame, at time.Time) {
	if c.accounts[0] == "*" {
		c.allEvents = append(c.allEvents, f.Event)
		return
	}
	last, subscribed := c.lastSeqs[f.Account]
	switch {
	case !subscribed || f.Sub != "wallet":
		c.reportError("%s: got event %d of subscription %q, which is not open", f.Account, f.Seq, f.Sub)
	case c.owesResync[f.Account]:
		c.reportError("%s: got event %d, want a resync first", f.Account, f.Seq)
	case f.Seq <= last:
		c.reportError("%s: got event %d after event %d", f.Account, f.Seq, last)
		return
	case f.Seq > last+1:
		c.reportError("%s: got event %d, want event %d", f.Account, f.Seq, last+1)
	}
	c.lastSeqs[f.Account] = f.Seq
	c.events[f.Account] = append(c.events[f.Account], receivedEvent{seq: f.Seq, event: f.Event, at: at})
	c.applyEvent(f)
}

// applyEvent applies a balance_updated event to the balance.
func (c *rawClient) applyEvent(f *rawclient.Frame) {
	var e struct {
		EventType     string `json:"eventType"`
		AccountID     string `json:"accountId"`
		AccountType   string `json:"accountType"`
		BalanceState  string `json:"balanceState"`
		BalanceBefore int64  `json:"balanceBefore"`
		BalanceAfter  int64  `json:"balanceAfter"`
		ChangeAmount  int64  `json:"changeAmount"`
	}
	err := json.Unmarshal(f.Event, &e)
	if err != nil {
		c.reportError("%s: event %d: %v", f.Account, f.Seq, err)
	}
	if e.EventType != "wallet.balance_updated" {
		return
	}
	name := fmt.Sprintf("client %s: event %d of %s: ", c.name, f.Seq, f.Account)
	balances := c.balances[f.Account]
	checkEqual(c.w, name+"account", e.AccountType+":"+e.AccountID, f.Account)
	checkEqual(c.w, name+e.BalanceState+" before", e.BalanceBefore, balances[e.BalanceState])
	checkEqual(c.w, name+e.BalanceState+" after", e.BalanceAfter, e.BalanceBefore+e.ChangeAmount)
	balances[e.BalanceState] = e.BalanceAfter
}

// waitUntil waits until a condition on the client holds.
func (c *rawClient) waitUntil(condition string, holds func() bool) {
	c.w.Helper()
	c.w.waitUntil("client "+c.name+": "+condition, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return holds()
	})
}

// waitForSeq waits until the client has the account's event with that seq, or a later one.
func (c *rawClient) waitForSeq(account string, seq int64) {
	c.w.Helper()
	c.waitUntil(fmt.Sprintf("event %d of %s", seq, account), func() bool { return c.lastSeqs[account] >= seq })
}

// waitForReconnect does the action and waits until the client has connected again.
func (c *rawClient) waitForReconnect(action func()) {
	c.w.Helper()
	c.mu.Lock()
	before := c.connections
	c.mu.Unlock()
	action()
	c.waitUntil("connected again", func() bool { return c.connections > before })
}

// closeCodes returns the close codes of the client's connections that have ended.
func (c *rawClient) closeCodes() []websocket.StatusCode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.closes)
}

// checkStayedConnected wants that the client has not lost its first connection.
func (c *rawClient) checkStayedConnected() {
	c.w.Helper()
	if codes := c.closeCodes(); len(codes) > 0 {
		c.reportError("got connections closed with %v, want none", codes)
	}
}

// checkAccount compares the client's events with the ledger's history, byte by byte, and its
// balance with the ledger's.
func (c *rawClient) checkAccount(account string, history []client.LedgerEvent, b client.Balance) {
	c.w.Helper()
	c.waitForSeq(account, int64(len(history)))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events[account] {
		if e.seq < 1 || e.seq > int64(len(history)) {
			c.reportError("%s: got event %d, which the ledger does not have", account, e.seq)
			return
		}
		if want := history[e.seq-1].JSON; !bytes.Equal(e.event, want) {
			c.reportError("%s: event %d:\ngot  %s\nwant %s", account, e.seq, e.event, want)
		}
	}
	name := "client " + c.name + ": " + account
	balances := c.balances[account]
	checkEqual(c.w, name+" seq", c.lastSeqs[account], b.Seq)
	checkEqual(c.w, name+" available", balances["available"], b.Available)
	checkEqual(c.w, name+" escrow", balances["escrow"], b.Escrow)
	checkEqual(c.w, name+" earned", balances["earned"], b.Earned)
}
