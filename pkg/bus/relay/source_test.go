package relay_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	reads   map[string]int // reads of positions by account

	transactions int           // committed ones; unlike outbox ids, never used again
	pendingReads atomic.Int64  // calls of Pending
	generation   atomic.Uint64 // grows when the database is replaced

	// hidden rows are missing from the next result of Pending, as if they were not visible yet.
	hidden map[int64]bool
}

func newMemorySource() *memorySource {
	m := &memorySource{
		updates: map[string][]bus.AccountUpdate{},
		changed: map[string]time.Time{},
		outbox:  map[int64]bus.OutboxRow{},
		reads:   map[string]int{},
		hidden:  map[int64]bool{},
	}
	m.generation.Store(1)
	return m
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
	row := bus.OutboxRow{ID: id, CommittedAt: time.Now(), Generation: m.generation.Load()}
	for _, account := range accounts {
		u := m.newUpdateLocked(account, events)
		m.updates[account] = append(m.updates[account], u)
		m.changed[account] = row.CommittedAt
		row.Updates = append(row.Updates, u)
	}
	m.outbox[id] = row
	return row
}

// newUpdateLocked returns the account's next update. Its chains depend on the account's history, and
// on a transaction that exists only once. m.mu is held.
func (m *memorySource) newUpdateLocked(account string, events int) bus.AccountUpdate {
	m.transactions++
	u := streamtest.NewUpdate(account, m.lastSeqLocked(account)+1, events)
	u.Key = fmt.Sprintf("tx-%d:%s", m.transactions, account)
	u.Before = m.newestLocked(account).Chain
	chain := u.Before
	for i := range u.Deliveries {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", chain, u.Key, i))
		chain = bus.Chain(binary.BigEndian.Uint64(sum[:]))
		u.Deliveries[i].Chain = chain
		u.Deliveries[i].ID = fmt.Sprintf("%s/%d", u.Key, i)
	}

	u.Balance.Chain = chain
	if strings.HasPrefix(account, "model:") {
		u.Balance.Earned += 1000 * int64(m.transactions) // differs between histories
	} else {
		u.Balance.Available += 1000 * int64(m.transactions)
	}
	return u
}

// ledgerCopy is a copy of a memorySource's data, such as a backup or a standby.
type ledgerCopy struct {
	updates map[string][]bus.AccountUpdate
	changed map[string]time.Time
	outbox  map[int64]bus.OutboxRow
	lastID  int64
}

// copyData returns a copy of the data.
func (m *memorySource) copyData() ledgerCopy {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := ledgerCopy{
		updates: map[string][]bus.AccountUpdate{},
		changed: maps.Clone(m.changed),
		outbox:  maps.Clone(m.outbox),
		lastID:  m.lastID,
	}
	for account, updates := range m.updates {
		c.updates[account] = slices.Clone(updates)
	}
	return c
}

// replaceData puts a copy in the place of the data. The generation stays the same, as if nobody
// noticed. No outbox id is used again, since rows of the same generation have different ids.
func (m *memorySource) replaceData(c ledgerCopy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replaceLocked(c)
	m.lastID = max(m.lastID, c.lastID)
}

// replaceLocked replaces all data but the last id. m.mu is held.
func (m *memorySource) replaceLocked(c ledgerCopy) {
	m.updates = map[string][]bus.AccountUpdate{}
	for account, updates := range c.updates {
		m.updates[account] = slices.Clone(updates)
	}
	m.changed = maps.Clone(c.changed)
	m.outbox = maps.Clone(c.outbox)
}

// failOver replaces the data and lets the relay know. Outbox ids are used again.
func (m *memorySource) failOver(c ledgerCopy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replaceLocked(c)
	m.lastID = c.lastID
	m.generation.Add(1)
}

// newestLocked returns the position of the account's newest event. m.mu is held.
func (m *memorySource) newestLocked(account string) bus.Position {
	p := bus.Position{Account: account}
	updates := m.updates[account]
	if len(updates) > 0 {
		p.Seq = updates[len(updates)-1].Last()
		p.Chain = updates[len(updates)-1].Chain()
	}
	return p
}

func (m *memorySource) newest(account string) bus.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.newestLocked(account)
}

func (m *memorySource) Generation() uint64 { return m.generation.Load() }

func (m *memorySource) Positions(_ context.Context, accounts []string) ([]bus.Position, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	positions := make([]bus.Position, len(accounts))
	for i, account := range accounts {
		positions[i] = m.newestLocked(account)
		m.reads[account]++
	}
	return positions, nil
}

func (m *memorySource) ChainsAt(_ context.Context, positions []bus.Position) (chains []bus.Chain, found []bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	chains = make([]bus.Chain, len(positions))
	found = make([]bool, len(positions))
	for i, p := range positions {
		updates := m.updates[p.Account]
		k, _ := slices.BinarySearchFunc(updates, p.Seq, func(u bus.AccountUpdate, seq int64) int { return cmp.Compare(u.Last(), seq) })
		if k < len(updates) && p.Seq >= updates[k].First() {
			chains[i] = updates[k].Deliveries[p.Seq-updates[k].First()].Chain
			found[i] = true
		}
	}
	return chains, found, nil
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

// positionReads counts how often an account's position was read.
func (m *memorySource) positionReads(account string) int {
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
	m.pendingReads.Add(1)
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
			list = append(list, m.newestLocked(account))
		}
	}
	slices.SortFunc(list, func(a, b bus.Position) int { return strings.Compare(a.Account, b.Account) })
	if len(list) > limit {
		return list[:limit], list[limit-1].Account, nil
	}
	return list, "", nil
}
