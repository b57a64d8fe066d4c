package wallet

import (
	"sync"

	"github.com/google/uuid"
)

// commitCache holds wallets and held escrows as the last batches committed them, so that the next
// batch does not need to read them. Other cores write to the same database, so the cache may be out
// of date. If a batch uses an outdated wallet or escrow, its write fails.
//
// The cache has rows of only one generation of the store. When the store reaches another database,
// the cache is emptied.
type commitCache struct {
	mu         sync.Mutex
	generation uint64
	wallets    boundedMap[Account, wallet]
	escrows    boundedMap[uuid.UUID, Escrow]
}

// cacheLimit bounds the number of wallets and the number of escrows in the cache. Each of them
// takes about 300 bytes.
const cacheLimit = 1 << 18

// loadInto copies the wallets and escrows that the batch needs from the cache into the state. It
// returns the ids of the missing ones, which may contain duplicates.
func (c *commitCache) loadInto(st *state, batch []*request) (escrows []uuid.UUID, accounts []Account) {
	c.mu.Lock()
	defer c.mu.Unlock()

	loadWallet := func(a Account) {
		if !c.copyWallet(st, a) {
			accounts = append(accounts, a)
		}
	}

	for _, r := range batch {
		if r.op.Account != "" {
			loadWallet(r.op.Account)
			continue
		}

		user, ok := c.copyEscrow(st, r.op.EscrowID)
		if ok {
			loadWallet(user)
		} else {
			escrows = append(escrows, r.op.EscrowID)
		}

		if r.op.Model != "" {
			loadWallet(r.op.Model)
		}
	}

	return escrows, accounts
}

// startGeneration empties the cache if its rows are of an earlier generation.
func (c *commitCache) startGeneration(generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if generation <= c.generation {
		return
	}

	c.generation = generation
	c.wallets = boundedMap[Account, wallet]{}
	c.escrows = boundedMap[uuid.UUID, Escrow]{}
}

// copyWallet copies a wallet into the state, unless the state has it already. It returns false if
// the cache does not have the wallet.
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

// copyEscrow copies an escrow into the state, unless the state has it already, and returns its
// user. ok is false if the cache does not have the escrow.
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

// storeBatch stores the wallets and escrows of a committed batch that began in the generation. It
// does nothing if the cache has rows of another generation.
func (c *commitCache) storeBatch(m *mutations, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if generation != c.generation {
		return
	}

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

// removeState removes all wallets and escrows that a batch has loaded.
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

// escrowUser returns the user of a held escrow. It returns an empty account if the cache does not
// have the escrow.
func (c *commitCache) escrowUser(id uuid.UUID) Account {
	c.mu.Lock()
	defer c.mu.Unlock()

	e := c.escrows.get(id)
	if e == nil {
		return ""
	}

	return e.User
}

// boundedMap is a map of at most cacheLimit values. It has two halves. When the young half is full,
// it becomes the old half, and the previous old half is dropped. A value that is read moves to the
// young half, so recently used values stay.
type boundedMap[K comparable, V any] struct {
	young map[K]*V
	old   map[K]*V
}

func (b *boundedMap[K, V]) get(k K) *V {
	v := b.young[k]
	if v != nil {
		return v
	}

	v = b.old[k]
	if v != nil {
		b.put(k, v)
	}

	return v
}

func (b *boundedMap[K, V]) put(k K, v *V) {
	if b.young == nil || len(b.young) >= cacheLimit/2 {
		b.old = b.young
		b.young = make(map[K]*V)
	}

	b.young[k] = v
}

func (b *boundedMap[K, V]) remove(k K) {
	delete(b.young, k)
	delete(b.old, k)
}
