package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/rawclient"
	"github.com/redroomrewards/realtime/pkg/client"
)

// watcher is a client that remembers every state that it was shown: each seq with its chain. So a
// test can tell whether it was shown something that the ledger does not have any more. Other than
// rawClient, it can use server-sent events, and it accepts that the history changes.
type watcher struct {
	w        *world
	name     string
	token    string
	accounts []string
	options  watcherOptions

	cancel context.CancelFunc // nil while disconnected
	ended  chan struct{}

	lastEventID string // of the server-sent events; keepConnected uses it

	mu   sync.Mutex // protects seen
	seen map[string]*seenAccount
}

type watcherOptions struct {
	sse          bool     // server-sent events, otherwise a WebSocket
	omitsChain   bool     // resumes with after alone
	types        []string // the filter; nil: all events
	loadsHistory bool     // accepts resyncs with history_unavailable
}

// seenAccount is what a watcher was shown of an account.
type seenAccount struct {
	position  // the newest one
	balances  map[string]int64
	shown     []position // all of them
	changes   int        // resyncs with history_changed
	owed      bool       // a resync must come before the next event
	connected bool       // subscribed on the present connection
}

// watch connects a watcher and returns when it has subscribed to the accounts.
func (w *world) watch(name string, gateway *server, o watcherOptions, accounts ...string) *watcher {
	w.Helper()
	v := &watcher{
		w:        w,
		name:     name,
		token:    w.signToken("watcher", accounts),
		accounts: accounts,
		options:  o,
		seen:     map[string]*seenAccount{},
	}
	v.connect(gateway)
	return v
}

// connect subscribes at a gateway. It resumes with what the watcher was shown last, also after the
// gateway closed a connection because this machine was too slow to read.
func (v *watcher) connect(gateway *server) {
	v.w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel = cancel
	v.ended = make(chan struct{})
	go v.keepConnected(ctx, gateway)
	v.w.Cleanup(v.disconnect)
	v.waitUntil("subscribed", func() bool {
		for _, account := range v.accounts {
			s := v.seen[account]
			if s == nil || !s.connected {
				return false
			}
		}
		return true
	})
}

// keepConnected connects again and again until ctx ends.
func (v *watcher) keepConnected(ctx context.Context, gateway *server) {
	defer close(v.ended)
	run := v.runWebSocket
	if v.options.sse {
		run = v.runEventStream
	}
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		err := run(ctx, gateway)
		if ctx.Err() == nil {
			v.w.Logf("watcher %s: the connection ended: %v", v.name, err)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// disconnect closes the connection. It may be called twice.
func (v *watcher) disconnect() {
	v.cancel()
	<-v.ended
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.seen {
		s.connected = false
	}
}

func (v *watcher) reportError(format string, args ...any) {
	v.w.Errorf("watcher %s: %s", v.name, fmt.Sprintf(format, args...))
}

// waitUntil waits until a condition on the watcher holds.
func (v *watcher) waitUntil(condition string, holds func() bool) {
	v.w.Helper()
	v.w.waitUntil("watcher "+v.name+": "+condition, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return holds()
	})
}

// waitForPosition waits until the newest state that the watcher was shown is the given one.
func (v *watcher) waitForPosition(account string, want position) {
	v.w.Helper()
	v.waitUntil(fmt.Sprintf("%s is at %v", account, want), func() bool { return v.seen[account].position == want })
}

func (v *watcher) runWebSocket(ctx context.Context, gateway *server) error {
	socket, err := rawclient.Dial(ctx, gateway.baseURL(), v.token, v.w.http)
	if err != nil {
		return err
	}
	defer socket.Close()
	err = socket.Send(ctx, v.newSubscribe())
	if err != nil {
		return err
	}
	for {
		f, err := socket.Next(ctx)
		if errors.Is(err, rawclient.ErrBadFrame) {
			v.reportError("%v", err)
		}
		if err != nil {
			return err
		}
		v.handleFrame(&f)
	}
}

// newSubscribe resumes the accounts that the watcher was shown before.
func (v *watcher) newSubscribe() rawclient.Subscribe {
	v.mu.Lock()
	defer v.mu.Unlock()
	subscribe := rawclient.Subscribe{Sub: "wallet", Accounts: v.accounts, Types: v.options.types}
	for account, s := range v.seen {
		chain := s.chain
		if v.options.omitsChain {
			chain = ""
		}
		subscribe.Resume(account, s.seq, chain)
	}
	return subscribe
}

// runEventStream reads server-sent events as an EventSource does: it resumes with the id of the last
// event only.
func (v *watcher) runEventStream(ctx context.Context, gateway *server) error {
	streaming := &http.Client{Transport: v.w.http.Transport} // without a time limit
	stream, err := rawclient.OpenEventStream(ctx, gateway.baseURL(), v.token, v.lastEventID, streaming)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		f, err := stream.Next()
		v.lastEventID = stream.LastID
		if errors.Is(err, rawclient.ErrBadFrame) {
			v.reportError("%v", err)
		}
		if err != nil {
			return err
		}
		v.handleFrame(&f)
	}
}

// handleFrame handles one frame.
func (v *watcher) handleFrame(f *rawclient.Frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch f.Op {
	case "subscribed":
		v.handleSubscribed(f)
	case "event":
		v.handleEvent(f)
	case "resync":
		v.handleResync(f)
	case "welcome", "reconnect", "closed", "pong", "token_expiring":
	default:
		v.reportError("got the frame %s", f)
	}
}

func (v *watcher) handleSubscribed(f *rawclient.Frame) {
	for _, a := range f.Accounts {
		s, resumed := v.seen[a.Account]
		switch {
		case resumed && a.Recovered:
			checkEqual(v.w, v.name+": position from which "+a.Account+" resumes", position{a.Seq, a.Chain}, s.position)
		case resumed:
			s.owed = true
		case a.Snapshot == nil:
			v.reportError("%s: got no snapshot", a.Account)
			continue
		default:
			s = &seenAccount{}
			v.seen[a.Account] = s
			v.setState(s, a.Snapshot, a.Seq, a.Chain)
		}
		s.connected = true
	}
}

func (v *watcher) handleResync(f *rawclient.Frame) {
	s := v.seen[f.Account]
	switch {
	case s == nil:
		v.reportError("%s: got a resync before it was subscribed", f.Account)
		return
	case f.Snapshot == nil:
		v.reportError("%s: got a resync without a snapshot", f.Account)
		return
	case f.Reason == "history_changed":
		s.changes++
	case f.Reason == "history_unavailable" && v.options.loadsHistory:
		if f.Seq < s.seq {
			v.reportError("%s: got a resync with %s to seq %d, want at least %d", f.Account, f.Reason, f.Seq, s.seq)
		}
	default:
		v.reportError("%s: got a resync with reason %s", f.Account, f.Reason)
	}
	s.owed = false
	v.setState(s, f.Snapshot, f.Seq, f.Chain)
}

// setState replaces the state of an account by a snapshot.
func (v *watcher) setState(s *seenAccount, b *client.Balance, seq int64, chain string) {
	account := b.Account
	checkEqual(v.w, v.name+": position of the snapshot of "+account, position{b.Seq, b.Chain}, position{seq, chain})
	s.position = position{seq, chain}
	s.shown = append(s.shown, s.position)
	s.balances = map[string]int64{
		"available": b.Available,
		"escrow":    b.Escrow,
		"earned":    b.Earned,
	}
}

// handleEvent keeps an event. Without a filter it must be the account's next one.
func (v *watcher) handleEvent(f *rawclient.Frame) {
	s := v.seen[f.Account]
	if s == nil || s.owed {
		v.reportError("%s: got event %d before it was subscribed or resynced", f.Account, f.Seq)
		return
	}
	isNext := f.Seq == s.seq+1 || (len(v.options.types) > 0 && f.Seq > s.seq)
	if !isNext {
		v.reportError("%s: got event %d (chain %s) after %v", f.Account, f.Seq, f.Chain, s.position)
	}
	s.position = position{f.Seq, f.Chain}
	s.shown = append(s.shown, s.position)
	var e struct {
		EventType    string `json:"eventType"`
		BalanceState string `json:"balanceState"`
		Before       int64  `json:"balanceBefore"`
		After        int64  `json:"balanceAfter"`
	}
	err := json.Unmarshal(f.Event, &e)
	if err != nil {
		v.reportError("%s: event %d: %v", f.Account, f.Seq, err)
	}
	if e.EventType != "wallet.balance_updated" {
		return
	}
	if len(v.options.types) == 0 {
		name := fmt.Sprintf("watcher %s: event %d of %s: %s before", v.name, f.Seq, f.Account, e.BalanceState)
		checkEqual(v.w, name, e.Before, s.balances[e.BalanceState])
	}
	s.balances[e.BalanceState] = e.After
}

// checkTruth wants the watcher to be at the ledger's truth, and to be told that the history changed
// exactly when it was shown something that is not true any more.
func (v *watcher) checkTruth(truths map[string]truth) {
	v.w.Helper()
	for _, account := range slices.Sorted(maps.Keys(truths)) {
		if !slices.Contains(v.accounts, account) {
			continue
		}
		tr := truths[account]
		if len(v.options.types) == 0 {
			v.waitForPosition(account, tr.newest())
		} else {
			v.waitUntil(account+" is at a position that the ledger has", func() bool { return tr.has(v.seen[account].position) })
		}
		v.checkAccount(account, tr)
	}
}

func (v *watcher) checkAccount(account string, tr truth) {
	v.w.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	name := "watcher " + v.name + ": " + account
	s := v.seen[account]
	isVoid := func(p position) bool { return !tr.has(p) }
	wasShownVoid := slices.ContainsFunc(s.shown, isVoid)
	if told := s.changes > 0; told != wasShownVoid {
		v.reportError("%s: told that the history changed: got %t (%d times), want %t; it was shown %v, the ledger has %v",
			account, told, s.changes, wasShownVoid, s.shown, tr.chains)
	}
	if len(v.options.types) > 0 {
		return // it lacks the events that its filter drops
	}
	checkEqual(v.w, name+" available", s.balances["available"], tr.balance.Available)
	checkEqual(v.w, name+" escrow", s.balances["escrow"], tr.balance.Escrow)
	checkEqual(v.w, name+" earned", s.balances["earned"], tr.balance.Earned)
}

// checkChanges wants the number of times that the watcher was told that an account's history changed.
func (v *watcher) checkChanges(account string, want int) {
	v.w.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	checkEqual(v.w, "watcher "+v.name+": changes of the history of "+account, v.seen[account].changes, want)
}
