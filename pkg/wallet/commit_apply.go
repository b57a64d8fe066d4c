package wallet

import (
	"cmp"
	"fmt"
	"slices"
)

// apply runs the operations in memory, one after the other. A key that stands
// in the batch twice has a leader, which is done, and followers, which get its
// receipt; a refused leader is not remembered, so its follower is tried too.
func (b *batcher) apply(st *state, batch []*request, known map[keyRef]*knownKey) *mutations {
	m := &mutations{
		transactions: make([]Transaction, 0, len(batch)), keys: make([]keyRef, 0, len(batch)), hashes: make([][16]byte, 0, len(batch)),
	}
	for _, r := range batch {
		if k := known[r.ref()]; k != nil {
			r.result = b.repeat(r, k)
			continue
		}
		id, at, now := newIDAfter(st.newest(&r.op))
		if r.op.Operation == OpHold {
			r.op.EscrowID, _ = newID()
		}
		tx, err := apply(st, &r.op, id, at, now)
		if err != nil {
			r.result = result{err: err}
			m.refused = true
			continue
		}
		if e := st.escrows[tx.EscrowID]; r.op.Operation == OpHold {
			m.opened = append(m.opened, e)
		} else if e != nil {
			m.ended = append(m.ended, e)
		}
		m.transactions = append(m.transactions, tx)
		m.keys = append(m.keys, r.ref())
		m.hashes = append(m.hashes, r.hash)
		known[r.ref()] = &knownKey{keyRef: r.ref(), hash: r.hash, tx: tx}
		b.mine[id] = r
		r.result = result{receipt: receipt(&tx)}
	}
	for _, w := range st.wallets {
		if w.changed {
			m.wallets = append(m.wallets, w)
		}
	}
	slices.SortFunc(m.wallets, func(a, b *wallet) int { return cmp.Compare(a.Account, b.Account) })
	return m
}

// repeat answers a key that was used before. It is not flagged as a repeat when
// an earlier try of this same batch did the work and only its answer was lost.
func (b *batcher) repeat(r *request, k *knownKey) result {
	if k.hash != r.hash {
		return result{err: fmt.Errorf("%w: %s", ErrKeyReused, r.op.Operation)}
	}
	rc := receipt(&k.tx)
	rc.Replayed = b.mine[k.tx.ID] != r
	return result{receipt: rc}
}

// receipt derives a transaction's receipt.
func receipt(tx *Transaction) Receipt {
	r := Receipt{
		TransactionID: tx.ID, Operation: tx.Operation, EscrowID: tx.EscrowID, Amount: tx.Amount,
		Timestamp: tx.CreatedAt, Balances: make([]Balance, len(tx.Parties)),
	}
	for i, p := range tx.Parties {
		r.Balances[i] = Balance{
			Account: string(p.Account), Available: p.Available, Escrow: p.Escrow, Earned: p.Earned,
			Seq: p.Seq, UpdatedAt: tx.CreatedAt,
		}
	}
	return r
}
