package wallet

import (
	"cmp"
	"fmt"
	"slices"
)

// applyBatch applies the operations of a batch in memory, one after the other, and sets the result
// of each request. Each operation succeeds or is refused alone.
//
// known holds the idempotency keys that were used before. applyBatch adds the keys that it uses. So
// if a batch contains a key twice, the second request gets the first one's receipt. A refused
// operation does not use its key, so the second request is then applied too.
func (c *committer) applyBatch(st *state, batch []*request, known map[keyRef]*knownKey) *mutations {
	m := &mutations{
		transactions: make([]Transaction, 0, len(batch)),
		keys:         make([]keyRef, 0, len(batch)),
		hashes:       make([][16]byte, 0, len(batch)),
	}

	for _, r := range batch {
		ref := r.keyRef()
		k := known[ref]
		if k != nil {
			r.result = c.replayResult(r, k)
			continue
		}

		tx, err := c.applyRequest(st, r)
		if err != nil {
			r.result = result{err: err}
			m.refused = true
			continue
		}

		m.addTransaction(st, r, &tx)
		known[ref] = &knownKey{
			keyRef: ref,
			hash:   r.hash,
			tx:     tx,
		}
		r.result = result{receipt: deriveReceipt(&tx)}
	}

	m.addWallets(st)
	return m
}

// applyRequest applies one request to the state and returns its transaction.
func (c *committer) applyRequest(st *state, r *request) (Transaction, error) {
	id, at, now := newIDAfter(st.newestChange(&r.op), c.cfg.Clock)
	if r.op.Operation == OpHold {
		r.op.EscrowID, _ = newID(c.cfg.Clock)
	}

	tx, err := applyOp(st, &r.op, id, at, now)
	if err != nil {
		return Transaction{}, err
	}

	c.attempts[id] = r
	return tx, nil
}

// addTransaction adds a request's transaction with its escrow and its idempotency key.
func (m *mutations) addTransaction(st *state, r *request, tx *Transaction) {
	escrow := st.escrows[tx.EscrowID]
	if r.op.Operation == OpHold {
		m.opened = append(m.opened, escrow)
	} else if escrow != nil {
		m.closed = append(m.closed, escrow)
	}

	m.transactions = append(m.transactions, *tx)
	m.keys = append(m.keys, r.keyRef())
	m.hashes = append(m.hashes, r.hash)
}

// addWallets adds the wallets that the batch changed, sorted by account.
func (m *mutations) addWallets(st *state) {
	for _, w := range st.wallets {
		if w.changed {
			m.wallets = append(m.wallets, w)
		}
	}

	slices.SortFunc(m.wallets, func(a, b *wallet) int {
		return cmp.Compare(a.Account, b.Account)
	})
}

// replayResult returns the result of a request whose idempotency key was used before. If an earlier
// attempt of the same batch used the key, the receipt is not flagged as replayed: the operation was
// committed for this request, and only the answer of the database was lost.
func (c *committer) replayResult(r *request, k *knownKey) result {
	if k.hash != r.hash {
		return result{err: fmt.Errorf("%w: %s", ErrKeyReused, r.op.Operation)}
	}

	receipt := deriveReceipt(&k.tx)
	receipt.Replayed = c.attempts[k.tx.ID] != r
	return result{receipt: receipt}
}

// deriveReceipt returns a transaction's receipt.
func deriveReceipt(tx *Transaction) Receipt {
	r := Receipt{
		TransactionID: tx.ID,
		Operation:     tx.Operation,
		EscrowID:      tx.EscrowID,
		Amount:        tx.Amount,
		Timestamp:     tx.CreatedAt,
		Balances:      make([]Balance, len(tx.Parties)),
	}

	for i := range tx.Parties {
		r.Balances[i] = tx.Parties[i].toBalance(tx.CreatedAt)
	}

	return r
}
