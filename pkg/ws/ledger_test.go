package ws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/redroomrewards/realtime/pkg/bus"
)

var errUnavailable = errors.New("unavailable")

// A ledger is a model of everything behind the gateway: the committed events, the snapshots that
// the relay has written, and the history of the core.
type ledger struct {
	mu            sync.Mutex // protects the fields below
	events        map[string][]bus.Delivery
	snapshotSeq   map[string]int64 // seq of each snapshot
	noSnapshots   bool             // Snapshots returns ok = false
	snapshotsDown bool             // Snapshots fails
	coreDown      bool             // History fails
	historyAfter  int64            // History lacks the events up to here
	block         chan struct{}    // History waits for it; nil: does not wait
}

func newLedger() *ledger {
	return &ledger{
		events:      map[string][]bus.Delivery{},
		snapshotSeq: map[string]int64{},
	}
}

var eventTypes = []string{
	"wallet.balance_updated",
	"wallet.escrow_held",
	"wallet.escrow_settled",
}

// commitEvent adds an event that is not published yet.
func (l *ledger) commitEvent(account string) bus.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := int64(len(l.events[account]) + 1)
	d := bus.Delivery{
		ID:      fmt.Sprintf("%s-%d", account, seq),
		Type:    eventTypes[seq%int64(len(eventTypes))],
		Account: account,
		Seq:     seq,
		Amount:  seq * 10,
		Reason:  "admin_credit",
		Feature: "chips",
		Data:    fmt.Appendf(nil, `{"eventId":"%s-%d","full":true}`, account, seq),
		View:    fmt.Appendf(nil, `{"eventId":"%s-%d"}`, account, seq),
	}
	l.events[account] = append(l.events[account], d)
	return d
}

// publishEvents commits n events and includes them in the snapshot, as the relay does.
func (l *ledger) publishEvents(account string, n int) []bus.Delivery {
	var list []bus.Delivery
	for range n {
		list = append(list, l.commitEvent(account))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshotSeq[account] = int64(len(l.events[account]))
	return list
}

// update calls f with the mutex held.
func (l *ledger) update(f func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// stopCore makes History fail.
func (l *ledger) stopCore() {
	l.update(func(l *ledger) { l.coreDown = true })
}

// stopAll makes History and Snapshots fail.
func (l *ledger) stopAll() {
	l.update(func(l *ledger) {
		l.coreDown = true
		l.snapshotsDown = true
	})
}

func balanceAt(account string, seq int64) bus.Balance {
	return bus.Balance{Account: account, Available: seq * 10, Seq: seq}
}

// Get implements Snapshots.
func (l *ledger) Get(_ context.Context, account string) (bus.Balance, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapshotsDown {
		return bus.Balance{}, false, errUnavailable
	}
	seq := l.snapshotSeq[account]
	if l.noSnapshots || seq == 0 {
		return bus.Balance{}, false, nil
	}
	return balanceAt(account, seq), true, nil
}

// Balance implements History.
func (l *ledger) Balance(ctx context.Context, account string) (bus.Balance, bool, error) {
	err := l.waitForBlock(ctx)
	if err != nil {
		return bus.Balance{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coreDown {
		return bus.Balance{}, false, errUnavailable
	}
	seq := int64(len(l.events[account]))
	return balanceAt(account, seq), seq > 0, nil
}

// Events implements History.
func (l *ledger) Events(
	ctx context.Context, account string, after int64, limit int,
) (events []bus.Delivery, last int64, err error) {
	err = l.waitForBlock(ctx)
	if err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.coreDown {
		return nil, 0, errUnavailable
	}
	all := l.events[account]
	last = int64(len(all))
	after = max(after, l.historyAfter)
	if after >= last {
		return nil, last, nil
	}
	page := all[after:]
	page = page[:min(limit, len(page))]
	return slices.Clone(page), last, nil
}

func (l *ledger) waitForBlock(ctx context.Context) error {
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
