package relay_test

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/relay"
)

// memory is a Source that keeps everything in memory. Like a database it hands out
// outbox ids before the commit, so ids of different accounts are not in order
// of commits; ids of one account are.
type memory struct {
	mu      sync.Mutex // protects the rest
	groups  map[string][]bus.AccountUpdate
	changed map[string]time.Time
	outbox  map[int64]bus.OutboxRow
	ids     int64
	asks    map[string]int // for groups of an account

	// hide leaves rows out of the next answer of Pending, as if they had not been
	// visible yet.
	hide map[int64]bool
}

func newMemory() *memory {
	return &memory{
		groups: map[string][]bus.AccountUpdate{}, changed: map[string]time.Time{}, outbox: map[int64]bus.OutboxRow{}, hide: map[int64]bool{},
		asks: map[string]int{},
	}
}

// reserve takes an outbox id, as an open transaction does.
func (m *memory) reserve() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids++
	return m.ids
}

// commit makes a transaction with events events for each account.
func (m *memory) commit(id int64, events int, accounts ...string) bus.OutboxRow {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := bus.OutboxRow{ID: id, CommittedAt: time.Now()}
	for _, account := range accounts {
		g := streamtest.NewUpdate(account, m.last(account)+1, events)
		g.Key = fmt.Sprintf("tx-%d:%s", id, account)
		m.groups[account] = append(m.groups[account], g)
		m.changed[account] = row.CommittedAt
		row.Updates = append(row.Updates, g)
	}
	m.outbox[id] = row
	return row
}

// run commits and offers at once.
func (m *memory) run(r *relay.Relay, events int, accounts ...string) {
	row := m.commit(m.reserve(), events, accounts...)
	if r != nil {
		r.Offer([]bus.OutboxRow{row})
	}
}

func (m *memory) last(account string) int64 {
	groups := m.groups[account]
	if len(groups) == 0 {
		return 0
	}
	return groups[len(groups)-1].Last()
}

func (m *memory) lastSeq(account string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(account)
}

// asked counts the questions for an account's groups.
func (m *memory) asked(account string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asks[account]
}

func (m *memory) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.outbox) == 0
}

func (m *memory) Pending(_ context.Context, after int64, limit int) ([]bus.OutboxRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []bus.OutboxRow
	for id, row := range m.outbox {
		if id > after && !m.hide[id] {
			rows = append(rows, row)
		}
	}
	clear(m.hide)
	sort.Slice(rows, func(i, j int) bool { return rows[i].ID < rows[j].ID })
	return rows[:min(limit, len(rows))], nil
}

func (m *memory) Published(_ context.Context, ids []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		delete(m.outbox, id)
	}
	return nil
}

func (m *memory) Backlog(context.Context) (int64, time.Time, error) {
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

func (m *memory) UpdatesAfter(_ context.Context, account string, after int64, limit int) ([]bus.AccountUpdate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks[account]++
	var groups []bus.AccountUpdate
	for _, g := range m.groups[account] {
		if g.Last() > after && len(groups) < limit {
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// ChangedSince pages by account: it knows of no transactions.
func (m *memory) ChangedSince(_ context.Context, t time.Time, cursor string, limit int) (page []bus.Position, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []bus.Position
	for account, at := range m.changed {
		if account > cursor && !at.Before(t) {
			list = append(list, bus.Position{Account: account, Seq: m.last(account)})
		}
	}
	slices.SortFunc(list, func(a, b bus.Position) int {
		if a.Account < b.Account {
			return -1
		}
		return 1
	})
	if len(list) > limit {
		return list[:limit], list[limit-1].Account, nil
	}
	return list, "", nil
}
