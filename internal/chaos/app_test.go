package chaos

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/redroomrewards/realtime/internal/rawclient"
	"github.com/redroomrewards/realtime/pkg/client"
)

// runApp reads the events of all accounts with pkg/client, and follows some balances. The client
// connects again by itself, at the gateways in turn. What the app sees is checked like the frames
// that the other viewers get.
func (v *viewer) runApp(ctx context.Context, first *program) error {
	gateways := &turnTransport{next: v.w.http.Transport, programs: v.w.gateways, journal: v.w.journal}
	c, err := client.New("ws://"+first.public+"/v1/ws", client.Config{
		Token:      func(context.Context) (string, error) { return v.signToken(), nil },
		HTTPClient: &http.Client{Transport: gateways},
		Logger:     slog.New(slog.DiscardHandler), // connections end all the time
	})
	if err != nil {
		return err
	}
	defer c.Close()
	v.setGateway(nil) // it is not known which one
	v.followBalances(c)

	for item, err := range c.Events(ctx, v.newFilter()) {
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, client.ErrDisconnected):
			v.violate("the client ended with %v", err)
			return err
		case err != nil:
			return err // an app begins again after an administrator has disconnected it
		}
		v.handleItem(&item)
	}
	return nil
}

// followBalances begins to follow the balances of all accounts.
func (v *viewer) followBalances(c *client.Client) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.balances = map[string]*client.LiveBalance{}
	for _, account := range v.accounts {
		v.balances[account] = c.Balance(account)
	}
}

// newFilter continues after what the viewer was shown.
func (v *viewer) newFilter() client.Filter {
	v.mu.Lock()
	defer v.mu.Unlock()
	filter := client.Filter{Accounts: v.accounts, StartWithBalance: true, After: map[string]client.Position{}}
	for account, s := range v.states {
		filter.After[account] = client.Position{Seq: s.seq, Chain: s.chain}
	}
	return filter
}

// handleItem handles an item like the frame that brought it.
func (v *viewer) handleItem(item *client.Item) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := rawclient.Frame{Account: item.Account, Seq: item.Seq, Chain: item.Chain}
	switch {
	case item.Resync == nil:
		f.Event = item.JSON
		v.handleEvent(&f)
	case item.Resync.Reason == client.Started && v.states[item.Account] == nil:
		s := &viewerState{}
		v.states[item.Account] = s
		v.setState(s, item.Resync.Balance, item.Seq, item.Chain)
	default:
		f.Reason = string(item.Resync.Reason)
		f.Snapshot = item.Resync.Balance
		v.handleResync(&f)
	}
}

// checkBalances wants each balance that the app follows to be the ledger's.
func (v *viewer) checkBalances(histories map[string]*history) {
	for _, account := range v.accounts {
		h := histories[account]
		var last client.BalanceState
		isLast := v.w.waitUntil(v.name+" shows the last balance of "+account, func() bool {
			last = v.balanceOf(account)
			return last.Status == client.BalanceLive && last.Seq == h.last()
		})
		if isLast && !h.matches(last.Balance) {
			v.violate("shows the balance %+v, want seq %d, chain %s, %v", last, h.last(), h.chains[h.last()], h.balances[h.last()])
		}
	}
}

func (v *viewer) balanceOf(account string) client.BalanceState {
	v.mu.Lock()
	balance := v.balances[account]
	v.mu.Unlock()
	return balance.Get()
}
