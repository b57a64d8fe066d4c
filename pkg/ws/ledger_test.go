package ws

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
)

var errAway = errors.New("away")

// ledger is the model of everything behind the gateway: the committed events, the
// snapshot hash as far as the relay has come, and the history API.
type ledger struct {
	mu        sync.Mutex // protects what follows
	events    map[string][]bus.Delivery
	shown     map[string]int64 // seq that the snapshots have reached
	noHash    bool             // Snapshots answers ok = false
	hashAway  bool             // Snapshots fails
	coreAway  bool             // History fails
	historyAt int64            // History has forgotten what is not above it
	asked     int              // calls of History.Events
	block     chan struct{}    // calls of History wait for it; nil: they do not
}

func newLedger() *ledger {
	return &ledger{events: map[string][]bus.Delivery{}, shown: map[string]int64{}}
}

var eventTypes = []string{"wallet.balance_updated", "wallet.escrow_held", "wallet.escrow_settled"}

// commit adds an event that nobody has been told of yet.
func (l *ledger) commit(account string) bus.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := int64(len(l.events[account]) + 1)
	d := bus.Delivery{
		ID: fmt.Sprintf("%s-%d", account, seq), Type: eventTypes[seq%int64(len(eventTypes))],
		Account: account, Seq: seq, Amount: seq * 10, Reason: "admin_credit", Feature: "chips",
		Data: fmt.Appendf(nil, `{"eventId":"%s-%d","full":true}`, account, seq),
		View: fmt.Appendf(nil, `{"eventId":"%s-%d"}`, account, seq),
	}
	l.events[account] = append(l.events[account], d)
	return d
}

// publish commits n events and shows them in the snapshot, as the relay does.
func (l *ledger) publish(account string, n int) []bus.Delivery {
	var ds []bus.Delivery
	for range n {
		ds = append(ds, l.commit(account))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown[account] = int64(len(l.events[account]))
	return ds
}

func (l *ledger) set(f func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func (l *ledger) balance(account string, seq int64) bus.Balance {
	return bus.Balance{Account: account, Available: seq * 10, Seq: seq}
}

func (l *ledger) Get(_ context.Context, account string) (bus.Balance, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hashAway {
		return bus.Balance{}, false, errAway
	}
	seq := l.shown[account]
	if l.noHash || seq == 0 {
		return bus.Balance{}, false, nil
	}
	return l.balance(account, seq), true, nil
}

func (l *ledger) Balance(ctx context.Context, account string) (bus.Balance, bool, error) {
	if err := l.wait(ctx); err != nil {
		return bus.Balance{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coreAway {
		return bus.Balance{}, false, errAway
	}
	seq := int64(len(l.events[account]))
	return l.balance(account, seq), seq > 0, nil
}

func (l *ledger) Events(ctx context.Context, account string, after int64, limit int) ([]bus.Delivery, int64, error) {
	if err := l.wait(ctx); err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.coreAway {
		return nil, 0, errAway
	}
	all := l.events[account]
	last := int64(len(all))
	after = max(after, l.historyAt)
	if after >= last {
		return nil, last, nil
	}
	some := all[after:]
	return append([]bus.Delivery(nil), some[:min(limit, len(some))]...), last, nil
}

func (l *ledger) wait(ctx context.Context) error {
	l.mu.Lock()
	block := l.block
	l.mu.Unlock()
	if block == nil {
		return nil
	}
	select {
	case <-block:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
