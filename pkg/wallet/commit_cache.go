package wallet

import (
	"sync"

	"github.com/google/uuid"
)

// recent remembers wallets and held escrows as the last batches left them, so that
// the next batch need not read them. What it remembers may be out of date, since
// other cores write too: a batch that believes it fails when it is written.
type recent struct {
	mu      sync.Mutex
	wallets generations[Account, wallet]
	escrows generations[uuid.UUID, Escrow]
}

// recentLimit bounds how many wallets, and how many escrows, are remembered: some
// 300 bytes each.
const recentLimit = 1 << 18

// load copies what is remembered into the state and returns what is missing.
func (r *recent) load(st *state, batch []*request) (escrows []uuid.UUID, accounts []Account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := func(a Account) {
		if st.wallets[a] != nil {
			return
		}
		if w := r.wallets.get(a); w != nil {
			w := *w
			st.wallets[a] = &w
		} else {
			accounts = append(accounts, a)
		}
	}
	for _, req := range batch {
		if req.op.Account != "" {
			need(req.op.Account)
			continue
		}
		if e := r.escrows.get(req.op.EscrowID); e == nil {
			escrows = append(escrows, req.op.EscrowID)
		} else if st.escrows[e.ID] == nil {
			e := *e
			st.escrows[e.ID] = &e
			need(e.User)
		}
		if req.op.Model != "" {
			need(req.op.Model)
		}
	}
	return escrows, accounts
}

// store remembers what a batch committed.
func (r *recent) store(m *mutations) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range m.wallets {
		w.created, w.changed, w.was = false, false, w.Hash
		r.wallets.put(w.Account, w)
	}
	for _, e := range m.opened {
		if e.Status == StatusHeld {
			r.escrows.put(e.ID, e)
		}
	}
	for _, e := range m.ended {
		r.escrows.drop(e.ID)
	}
}

// forget drops what a batch believed.
func (r *recent) forget(st *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range st.wallets {
		r.wallets.drop(a)
	}
	for id := range st.escrows {
		r.escrows.drop(id)
	}
}

// user tells whose an escrow is; empty: not known.
func (r *recent) user(escrow uuid.UUID) Account {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.escrows.get(escrow); e != nil {
		return e.User
	}
	return ""
}

// generations is a bounded map: when the young half is full it becomes the old
// half, and what was not asked for since then is gone.
type generations[K comparable, V any] struct{ young, old map[K]*V }

func (g *generations[K, V]) get(k K) *V {
	v := g.young[k]
	if v == nil {
		if v = g.old[k]; v != nil {
			g.put(k, v)
		}
	}
	return v
}

func (g *generations[K, V]) put(k K, v *V) {
	if g.young == nil || len(g.young) >= recentLimit/2 {
		g.young, g.old = make(map[K]*V), g.young
	}
	g.young[k] = v
}

func (g *generations[K, V]) drop(k K) {
	delete(g.young, k)
	delete(g.old, k)
}
