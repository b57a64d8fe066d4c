package wallet

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// faultyStore is a real store whose calls fail where a test wants them to.
type faultyStore struct {
	store
	mu          sync.Mutex
	faults      []fault // the first one fails the next call at its place
	lockedTries []bool  // for each batch that was begun: whether it was locked

	committer *committer
	onWrite   func(*mutations) error // is called with each batch before it is written; may be nil
}

// fault is one failure of a store.
type fault struct {
	at     string // begin, keys, escrows, wallets, write, commit before, commit after
	err    error
	poison Account // only at write: each batch that changes the account fails, any number of times
}

// setFaults replaces the faults that have not happened yet.
func (f *faultyStore) setFaults(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// takeFault returns the error of the next fault if it is one at this place, and removes the fault.
func (f *faultyStore) takeFault(at string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.faults) == 0 {
		return nil
	}
	next := f.faults[0]
	if next.at != at || next.poison != "" {
		return nil
	}
	f.faults = f.faults[1:]
	return next.err
}

// poisonOf returns the error of a fault that fails each batch with one of these wallets.
func (f *faultyStore) poisonOf(wallets []*wallet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.faults {
		for _, w := range wallets {
			if fault.at == "write" && fault.poison == w.Account {
				return fault.err
			}
		}
	}
	return nil
}

func (f *faultyStore) beginBatch(ctx context.Context, locked bool) (batchTx, error) {
	f.mu.Lock()
	f.lockedTries = append(f.lockedTries, locked)
	f.mu.Unlock()
	if err := f.takeFault("begin"); err != nil {
		return nil, err
	}
	tx, err := f.store.beginBatch(ctx, locked)
	return &faultyTx{tx, f}, err
}

type faultyTx struct {
	batchTx
	f *faultyStore
}

func (t *faultyTx) readKeys(ctx context.Context, refs []keyRef) ([]knownKey, error) {
	if err := t.f.takeFault("keys"); err != nil {
		return nil, err
	}
	return t.batchTx.readKeys(ctx, refs)
}

func (t *faultyTx) readEscrows(ctx context.Context, ids []uuid.UUID) ([]Escrow, error) {
	if err := t.f.takeFault("escrows"); err != nil {
		return nil, err
	}
	return t.batchTx.readEscrows(ctx, ids)
}

func (t *faultyTx) readWallets(ctx context.Context, a []Account) ([]wallet, error) {
	if err := t.f.takeFault("wallets"); err != nil {
		return nil, err
	}
	return t.batchTx.readWallets(ctx, a)
}

func (t *faultyTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
	if err := t.f.poisonOf(m.wallets); err != nil {
		return nil, err
	}
	if t.f.onWrite != nil {
		err := t.f.onWrite(m)
		if err != nil {
			return nil, err
		}
	}
	ids, err := t.batchTx.writeBatch(ctx, m)
	if fault := t.f.takeFault("write"); fault != nil {
		return nil, fault
	}
	return ids, err
}

func (t *faultyTx) commit() error {
	if err := t.f.takeFault("commit before"); err != nil {
		return err
	}
	err := t.batchTx.commit()
	if fault := t.f.takeFault("commit after"); fault != nil {
		return fault
	}
	return err
}

// openFaulty opens a ledger that does not run. Its batches are committed by commitBatch.
func openFaulty(t *testing.T, url string, faults ...fault) (*faultyStore, *Ledger) {
	t.Helper()
	l := openLedger(t, url, Config{})
	t.Cleanup(func() { _ = l.Close() })
	return makeFaulty(l, faults...), l
}

func makeFaulty(l *Ledger, faults ...fault) *faultyStore {
	f := &faultyStore{store: l.store, faults: faults}
	l.store = f
	f.committer = newScheduler(l).free[0]
	return f
}

// commitBatch commits the operations as one batch and returns their results.
func commitBatch(t *testing.T, l *Ledger, ops ...Op) []result {
	t.Helper()
	batch := make([]*request, len(ops))
	for i, op := range ops {
		err := op.Validate()
		if err != nil {
			t.Fatal(err)
		}
		batch[i] = newValidatedRequest(t.Context(), &op)
	}
	l.store.(*faultyStore).committer.commitBatch(batch)
	results := make([]result, len(ops))
	for i, r := range batch {
		results[i] = <-r.done
	}
	return results
}

// mustCommit commits the operations as one batch, ends the test if one of them fails, and returns
// the receipts.
func mustCommit(t *testing.T, l *Ledger, ops ...Op) []Receipt {
	t.Helper()
	receipts := make([]Receipt, len(ops))
	for i, r := range commitBatch(t, l, ops...) {
		if r.err != nil {
			t.Fatalf("operation %d of the batch: %v", i, r.err)
		}
		receipts[i] = r.receipt
	}
	return receipts
}
