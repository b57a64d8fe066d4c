package ws

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
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
	histories     int // number of times that the ledger went back
	setbacks      int // number of times that the ledger or a snapshot went back
	snapshots     map[string]bus.Balance
	stream        map[string][]bus.Delivery  // all published entries, with markers
	forked        map[string]int64           // common seq of accounts that went back, until the marker
	byChain       map[bus.Chain]bus.Delivery // all events of all histories
	parents       map[bus.Chain]bus.Chain
	void          map[bus.Chain]bool // events that never happened
	noSnapshots   bool               // Snapshots returns ok = false
	snapshotsDown bool               // Snapshots fails
	coreDown      bool               // History fails
	balancePanics bool               // Balance of the History panics
	historyAfter  int64              // History lacks the events up to here
	memoryForgets bool               // the gateways forget accounts without feeds
	block         chan struct{}      // History waits for it; nil: does not wait
}

func newLedger() *ledger {
	return &ledger{
		events:    map[string][]bus.Delivery{},
		snapshots: map[string]bus.Balance{},
		stream:    map[string][]bus.Delivery{},
		forked:    map[string]int64{},
		byChain:   map[bus.Chain]bus.Delivery{},
		parents:   map[bus.Chain]bus.Chain{},
		void:      map[bus.Chain]bool{},
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
	id := l.eventID(account, seq)
	d := bus.Delivery{
		ID:      id,
		Type:    eventTypes[seq%int64(len(eventTypes))],
		Account: account,
		Seq:     seq,
		Chain:   chainOf(id),
		Amount:  seq * 10,
		Reason:  "admin_credit",
		Feature: "chips",
		Data:    fmt.Appendf(nil, `{"eventId":%q,"full":true}`, id),
		View:    fmt.Appendf(nil, `{"eventId":%q}`, id),
	}
	l.parents[d.Chain] = l.balance(account).Chain
	l.byChain[d.Chain] = d
	l.events[account] = append(l.events[account], d)
	return d
}

// goBack removes the account's newest n events, as a restored backup does. The streams and the
// snapshots still have them.
func (l *ledger) goBack(account string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.events[account]
	common := max(0, len(all)-n)
	for _, d := range all[common:] {
		l.void[d.Chain] = true
	}
	l.histories++
	l.setbacks++
	l.events[account] = slices.Clip(all[:common])
	old, wasForked := l.forked[account]
	if !wasForked || int64(common) < old {
		l.forked[account] = int64(common)
	}
}

// repair publishes a marker and the events after the common point, as the relay does when it
// notices that the ledger went back. It returns nothing if the ledger did not.
func (l *ledger) repair(account string) []bus.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	common, isForked := l.forked[account]
	if !isForked {
		return nil
	}
	delete(l.forked, account)
	marker := bus.Delivery{
		ID:      "marker",
		Type:    bus.TypeHistoryChanged,
		Account: account,
		Seq:     common,
		Data:    []byte("{}"),
	}
	if common > 0 {
		marker.Chain = l.events[account][common-1].Chain
	}
	list := append([]bus.Delivery{marker}, l.events[account][common:]...)
	l.stream[account] = append(l.stream[account], list...)
	l.snapshots[account] = l.balance(account)
	return list
}

// publishEvents commits n events and includes them in the snapshot, as the relay does.
func (l *ledger) publishEvents(account string, n int) []bus.Delivery {
	var list []bus.Delivery
	for range n {
		list = append(list, l.commitEvent(account))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream[account] = append(l.stream[account], list...)
	l.snapshots[account] = l.balance(account)
	return list
}

// setBackSnapshot makes the snapshot older by n events, as a failover of Redis does that loses data.
func (l *ledger) setBackSnapshot(account string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.snapshots[account]
	for range n {
		if b.Seq <= 1 {
			break
		}
		b.Seq--
		b.Chain = l.parents[b.Chain]
		b.Available = b.Seq * 10
	}
	l.snapshots[account] = b
	l.setbacks++
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

// eventID returns the id of the account's event with the seq in the present history.
func (l *ledger) eventID(account string, seq int64) string {
	if l.histories == 0 {
		return fmt.Sprintf("%s-%d", account, seq)
	}
	return fmt.Sprintf("%s-%d-in-%d", account, seq, l.histories)
}

// chainOf returns the chain of an event. Ids are different in different histories.
func chainOf(id string) bus.Chain {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(id))
	return bus.Chain(hash.Sum64())
}

// balance returns the account's balance. The caller holds mu.
func (l *ledger) balance(account string) bus.Balance {
	b := bus.Balance{Account: account}
	all := l.events[account]
	if len(all) > 0 {
		b.Seq = all[len(all)-1].Seq
		b.Chain = all[len(all)-1].Chain
		b.Available = b.Seq * 10
	}
	return b
}

// Get implements Snapshots.
func (l *ledger) Get(_ context.Context, account string) (bus.Balance, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapshotsDown {
		return bus.Balance{}, false, errUnavailable
	}
	b := l.snapshots[account]
	if l.noSnapshots || b.Seq == 0 {
		return bus.Balance{}, false, nil
	}
	return b, true, nil
}

// RequireSeq implements Snapshots.
func (l *ledger) RequireSeq(string, int64) {}

// Rewind implements Snapshots.
func (l *ledger) Rewind(string, int64) {}

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
	if l.balancePanics {
		panic("boom")
	}
	b := l.balance(account)
	return b, b.Seq > 0, nil
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
