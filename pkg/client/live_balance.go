package client

import (
	"context"
	"iter"
	"maps"
	"time"
)

// BalanceStatus says what is known of a balance.
type BalanceStatus string

// The statuses of a balance.
const (
	BalanceLoading BalanceStatus = "loading" // not known yet; the amounts mean nothing
	BalanceLive    BalanceStatus = "live"    // up to date
	BalanceStale   BalanceStatus = "stale"   // true at StaleSince; the connection is interrupted
	BalanceFailed  BalanceStatus = "error"   // for good, see Err; the amounts mean nothing
)

// BalanceState is a balance with its status.
type BalanceState struct {
	Balance
	Status     BalanceStatus
	StaleSince time.Time // only of a stale balance
	Err        error     // why the balance failed, or why a balance that is not live has to wait
}

// LiveBalance is the balance of an account, kept up to date by the client. Its methods may be called
// concurrently.
type LiveBalance struct {
	client   *Client
	entry    *balanceEntry
	isClosed bool // the client's mu protects it
}

// balanceEntry is the subscription that all LiveBalances of an account share. The client's mu
// protects it.
type balanceEntry struct {
	client  *Client
	account string
	sub     *subscription // nil: the client is closed
	users   int
	state   BalanceState
	readers map[*balanceReader]bool
}

// balanceReader is one loop over Changes.
type balanceReader struct {
	of      *LiveBalance
	changed bool
	wake    chan struct{} // has room for one signal
}

// wakeUp lets the loop read the newest state. The caller holds mu.
func (r *balanceReader) wakeUp() {
	r.changed = true
	wakeReader(r.wake)
}

// Balance follows the balance of an account, such as user:u1. All callers for one account share one
// subscription. Close releases it.
func (c *Client) Balance(account string) *LiveBalance {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.balances[account]
	if e == nil {
		e = c.addBalance(account)
	}
	e.users++
	return &LiveBalance{client: c, entry: e}
}

// addBalance begins to follow an account. The caller holds mu.
func (c *Client) addBalance(account string) *balanceEntry {
	e := &balanceEntry{
		client:  c,
		account: account,
		state:   BalanceState{Status: BalanceLoading, Balance: Balance{Account: account}},
		readers: map[*balanceReader]bool{},
	}
	if c.state.Name == StateClosed {
		e.state.Status = BalanceFailed
		e.state.Err = c.state.Err
		return e
	}
	c.balances[account] = e
	e.sub = c.addSubscription(Filter{Accounts: []string{account}}, e)
	return e
}

// Close releases the balance, whose error is ErrClosed from then on. The last Close for an account
// ends its subscription. It may be called twice.
func (b *LiveBalance) Close() {
	c := b.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.isClosed {
		return
	}
	b.isClosed = true
	e := b.entry
	for r := range e.readers {
		if r.of == b {
			r.wakeUp()
		}
	}
	e.users--
	if e.users > 0 || e.sub == nil {
		return
	}
	e.sub.remove()
	e.forget()
}

// forget lets the next call of Client.Balance begin anew.
func (e *balanceEntry) forget() {
	maps.DeleteFunc(e.client.balances, func(_ string, other *balanceEntry) bool { return other == e })
}

// Get returns the balance as it is known now.
func (b *LiveBalance) Get() BalanceState {
	b.client.mu.Lock()
	defer b.client.mu.Unlock()
	return b.currentState()
}

// currentState returns the state for the users of this LiveBalance. The caller holds mu.
func (b *LiveBalance) currentState() BalanceState {
	if b.isClosed {
		return BalanceState{Status: BalanceFailed, Err: ErrClosed, Balance: Balance{Account: b.entry.account}}
	}
	return b.entry.state
}

// Wait returns the balance as soon as it is live. It returns an error if the balance fails or ctx
// ends before.
func (b *LiveBalance) Wait(ctx context.Context) (Balance, error) {
	for state := range b.Changes(ctx) {
		switch state.Status {
		case BalanceLive:
			return state.Balance, nil
		case BalanceFailed:
			return Balance{}, state.Err
		}
	}
	return Balance{}, ctx.Err()
}

// Changes returns the sequence of the balance's states. It begins with the present one, and ends
// after a failed one or when ctx ends. A slow loop misses states in between, but never the newest.
func (b *LiveBalance) Changes(ctx context.Context) iter.Seq[BalanceState] {
	return func(yield func(BalanceState) bool) {
		r := b.addReader()
		defer b.removeReader(r)
		for {
			state, changed := b.nextState(r)
			if changed {
				if !yield(state) || state.Status == BalanceFailed {
					return
				}
				continue
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (b *LiveBalance) addReader() *balanceReader {
	b.client.mu.Lock()
	defer b.client.mu.Unlock()
	r := &balanceReader{of: b, changed: true, wake: make(chan struct{}, 1)}
	b.entry.readers[r] = true
	return r
}

func (b *LiveBalance) removeReader(r *balanceReader) {
	b.client.mu.Lock()
	defer b.client.mu.Unlock()
	delete(b.entry.readers, r)
}

// nextState returns the newest state, and whether the reader has not seen it.
func (b *LiveBalance) nextState(r *balanceReader) (BalanceState, bool) {
	b.client.mu.Lock()
	defer b.client.mu.Unlock()
	changed := r.changed
	r.changed = false
	return b.currentState(), changed
}

// setState changes the state and wakes the readers.
func (e *balanceEntry) setState(state BalanceState) {
	e.state = state
	for r := range e.readers {
		r.wakeUp()
	}
}

// start implements sink.
func (e *balanceEntry) start(_ string, _ Position, balance *Balance) {
	if balance == nil {
		return
	}
	e.setState(BalanceState{Status: BalanceLive, Balance: *balance})
}

// resume implements sink.
func (e *balanceEntry) resume(string) {
	e.setState(BalanceState{Status: BalanceLive, Balance: e.state.Balance})
}

// addEvent implements sink.
func (e *balanceEntry) addEvent(item Item) bool {
	state := BalanceState{Status: BalanceLive, Balance: e.state.Balance}
	state.applyEvent(item.Seq, item.Chain, item.Event)
	e.setState(state)
	return true
}

// addResync implements sink.
func (e *balanceEntry) addResync(item Item) bool {
	if item.Resync.Balance != nil {
		e.setState(BalanceState{Status: BalanceLive, Balance: *item.Resync.Balance})
	}
	return true
}

// interrupt implements sink.
func (e *balanceEntry) interrupt(at time.Time) {
	if e.state.Status != BalanceLive {
		return
	}
	e.setState(BalanceState{Status: BalanceStale, Balance: e.state.Balance, StaleSince: at})
}

// retry implements sink.
func (e *balanceEntry) retry(err error) {
	e.interrupt(e.client.cfg.clock.Now())
	state := e.state
	state.Err = err
	e.setState(state)
}

// fail implements sink. Amounts that are not kept up to date are not shown.
func (e *balanceEntry) fail(err error) {
	e.forget()
	e.setState(BalanceState{Status: BalanceFailed, Err: err, Balance: Balance{Account: e.account}})
}
