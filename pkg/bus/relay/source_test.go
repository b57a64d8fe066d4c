package relay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// memorySource is a Source in memory. Like a database, it assigns outbox ids before the commit. The
// ids of different accounts are therefore not in the order of their commits, but the ids of one
// account are.
type memorySource struct {
	mu      sync.Mutex // protects the rest
	updates map[string][]bus.AccountUpdate
	changed map[string]time.Time
	outbox  map[int64]bus.OutboxRow
	lastID  int64
	reads   map[string]int // calls of UpdatesAfter by account

	// hidden rows are missing from the next result of Pending, as if they were not visible yet.
	hidden map[int64]bool
}

func newMemorySource() *memorySource {
	return &memorySource{
		updates: map[string][]bus.AccountUpdate{},
		changed: map[string]time.Time{},
		outbox:  map[int64]bus.OutboxRow{},
		reads:   map[string]int{},
		hidden:  map[int64]bool{},
	}
}

// reserveID assigns an outbox id, as an open transaction does.
func (m *memorySource) reserveID() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastID++
	return m.lastID
}

// commit makes a transaction with the given number of events for each account.
func (m *memorySource) commit(id int64, events int, accounts ...string) bus.OutboxRow {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := bus.OutboxRow{ID: id, CommittedAt: time.Now()}
	for _, account := range accounts {
		u := streamtest.NewUpdate(account, m.lastSeqLocked(account)+1, events)
		u.Key = fmt.Sprintf("tx-%d:%s", id, account)
		m.updates[account] = append(m.updates[account], u)
		m.changed[account] = row.CommittedAt
		row.Updates = append(row.Updates, u)
	}
	m.outbox[id] = row
	return row
}

// commitAndOffer makes a transaction and offers it to r. If r is nil, it only commits.
func (m *memorySource) commitAndOffer(r *relay.Relay, events int, accounts ...string) {
	row := m.commit(m.reserveID(), events, accounts...)
	if r != nil {
		r.Offer([]bus.OutboxRow{row})
	}
}

// lastSeqLocked returns the account's newest seq. m.mu is held.
func (m *memorySource) lastSeqLocked(account string) int64 {
	updates := m.updates[account]
	if len(updates) == 0 {
		return 0
	}
	return updates[len(updates)-1].Last()
}

func (m *memorySource) lastSeq(account string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastSeqLocked(account)
}

// updateReads counts the calls of UpdatesAfter for an account.
func (m *memorySource) updateReads(account string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads[account]
}

func (m *memorySource) isEmpty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.outbox) == 0
}

func (m *memorySource) Pending(_ context.Context, after int64, limit int) ([]bus.OutboxRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []bus.OutboxRow
	for id, row := range m.outbox {
		if id > after && !m.hidden[id] {
			rows = append(rows, row)
		}
	}
	clear(m.hidden)
	slices.SortFunc(rows, func(a, b bus.OutboxRow) int { return int(a.ID - b.ID) })
	return rows[:min(limit, len(rows))], nil
}

func (m *memorySource) Published(_ context.Context, ids []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		delete(m.outbox, id)
	}
	return nil
}

func (m *memorySource) Backlog(context.Context) (int64, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var oldest time.Time
	for _, row := range m.outbox {
		if oldest.IsZero() || row.CommittedAt.Before(oldest) {
			oldest = row.CommittedAt
		}
	}
	return int64(len(m.outbox)), oldest, nil
}

func (m *memorySource) UpdatesAfter(_ context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads[account]++
	var updates []bus.AccountUpdate
	for _, u := range m.updates[account] {
		if u.Last() > after && len(updates) < limit {
			updates = append(updates, u)
		}
	}
	return updates, nil
}

// ChangedSince pages by account, since memorySource keeps no transactions.
func (m *memorySource) ChangedSince(_ context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []bus.Position
	for account, changed := range m.changed {
		if account > cursor && !changed.Before(t) {
			list = append(list, bus.Position{Account: account, Seq: m.lastSeqLocked(account)})
		}
	}
	slices.SortFunc(list, func(a, b bus.Position) int { return strings.Compare(a.Account, b.Account) })
	if len(list) > limit {
		return list[:limit], list[limit-1].Account, nil
	}
	return list, "", nil
}
