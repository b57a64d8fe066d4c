package wallet

import (
	"sync"

	"github.com/google/uuid"
)

// commitCache has wallets and held escrows as the last batches left them, so that the next batch
// need not read them. An entry may be out of date, since other cores write too. A batch that used
// one fails when it is written.
type commitCache struct {
	mu      sync.Mutex
	wallets boundedMap[Account, wallet]
	escrows boundedMap[uuid.UUID, Escrow]
}

// cacheLimit bounds the wallets, and the escrows, in the cache. Each takes some 300 bytes.
const cacheLimit = 1 << 18

// loadInto copies what the batch needs and the cache has into the state. It returns what is
// missing, possibly more than once.
func (c *commitCache) loadInto(st *state, batch []*request) (escrows []uuid.UUID, accounts []Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	need := func(a Account) {
		if !c.copyWallet(st, a) {
			accounts = append(accounts, a)
		}
	}

	for _, r := range batch {
		if r.op.Account != "" {
			need(r.op.Account)
			continue
		}

		user, ok := c.copyEscrow(st, r.op.EscrowID)
		if ok {
			need(user)
		} else {
			escrows = append(escrows, r.op.EscrowID)
		}

		if r.op.Model != "" {
			need(r.op.Model)
		}
	}

	return escrows, accounts
}

// copyWallet reports whether the state has the wallet afterwards.
func (c *commitCache) copyWallet(st *state, a Account) bool {
	if st.wallets[a] != nil {
		return true
	}

	cached := c.wallets.get(a)
	if cached == nil {
		return false
	}

	w := *cached
	st.wallets[a] = &w
	return true
}

// copyEscrow returns the escrow's user, and whether the state has the escrow afterwards.
func (c *commitCache) copyEscrow(st *state, id uuid.UUID) (user Account, ok bool) {
	cached := c.escrows.get(id)
	if cached == nil {
		return "", false
	}

	if st.escrows[id] == nil {
		e := *cached
		st.escrows[id] = &e
	}

	return cached.User, true
}

// storeBatch caches what a batch has committed.
func (c *commitCache) storeBatch(m *mutations) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range m.wallets {
		w.created = false
		w.changed = false
		w.hashBefore = w.Hash
		c.wallets.put(w.Account, w)
	}

	for _, e := range m.opened {
		if e.Status == StatusHeld {
			c.escrows.put(e.ID, e)
		}
	}

	for _, e := range m.closed {
		c.escrows.remove(e.ID)
	}
}

// forgetState drops all that a batch has used.
func (c *commitCache) removeState(st *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a := range st.wallets {
		c.wallets.remove(a)
	}
	for id := range st.escrows {
		c.escrows.remove(id)
	}
}

// escrowUser returns the user of a held escrow; empty: the cache does not have it.
func (c *commitCache) escrowUser(id uuid.UUID) Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.escrows.get(id)
	if e == nil {
		return ""
	}
	return e.User
}

// boundedMap is a bounded map. When the young half is full it becomes the old half, and the old
// half, which holds what nobody has asked for since, is dropped.
type boundedMap[K comparable, V any] struct{ young, old map[K]*V }

func (g *boundedMap[K, V]) get(k K) *V {
	v := g.young[k]
	if v != nil {
		return v
	}

	v = g.old[k]
	if v != nil {
		g.put(k, v)
	}

	return v
}

func (g *boundedMap[K, V]) put(k K, v *V) {
	if g.young == nil || len(g.young) >= cacheLimit/2 {
		g.old = g.young
		g.young = make(map[K]*V)
	}
	g.young[k] = v
}

func (g *boundedMap[K, V]) remove(k K) {
	delete(g.young, k)
	delete(g.old, k)
}
