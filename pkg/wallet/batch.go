package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// request is one operation on its way through group commit.
type request struct {
	ctx  context.Context // of the caller: a request that is cancelled before its batch begins is not done
	op   Op
	hash [16]byte
	done chan result // buffered: the batcher never waits for a caller

	named [2]subject // what it shares with others, see subjects
	names int

	result result // while its batch is under way
}

type result struct {
	receipt Receipt
	err     error
}

// newRequest checks the operation.
func newRequest(ctx context.Context, op *Op) (*request, error) {
	if op.Operation == OpHold && op.EscrowID != uuid.Nil {
		return nil, invalid("/escrowId", "the ledger names the escrow")
	}
	if err := op.Check(); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, op: *op, hash: requestHash(op), done: make(chan result, 1)}
	r.name()
	return r, nil
}

// wait returns the answer, or the caller's end.
func (r *request) wait() (Receipt, error) {
	select {
	case res := <-r.done:
		return res.receipt, res.err
	case <-r.ctx.Done():
		return Receipt{}, fmt.Errorf("%s: %w", r.op.Operation, r.ctx.Err())
	}
}

func (r *request) ref() keyRef { return keyRef{r.op.Operation, r.op.IdempotencyKey} }

// batcher commits batches, one after the other.
type batcher struct {
	store   store
	cfg     Config
	metrics *metrics
	mine    map[uuid.UUID]*request // what this batch's tries did, and for whom
	live    []*request             // reused
	lookUps int                    // batches whose keys are looked up first, see commit
}

// lookUpsAfter is for how many batches keys are looked up first after a repeat or a
// refusal.
const lookUpsAfter = 64

// process commits a batch and answers each of its requests.
func (b *batcher) process(batch []*request) {
	b.lookUps = max(b.lookUps-1, 0)
	live := b.live[:0]
	for _, r := range batch {
		if err := r.ctx.Err(); err != nil {
			r.answer(result{err: fmt.Errorf("not done: %w", err)}, b.metrics)
			continue
		}
		live = append(live, r)
	}
	// The commit has its own deadline: a caller that goes away must not take its
	// neighbours' batch with it.
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	b.commitOrSplit(ctx, live)
	clear(live)
	b.live = live
}

// commitTimeout bounds a batch with all its retries.
const commitTimeout = 10 * time.Second

// commitOrSplit commits the batch. When the database refuses it for a reason
// that a retry does not mend, one operation must be the poison: halves are tried
// by themselves, in order, until it stands alone.
func (b *batcher) commitOrSplit(ctx context.Context, batch []*request) {
	if len(batch) == 0 {
		return
	}
	err := b.commitWithRetry(ctx, batch)
	switch {
	case err == nil:
		for _, r := range batch {
			r.answer(r.result, b.metrics)
		}
	case len(batch) > 1 && (!transient(err) || errors.Is(err, errConflict)):
		b.metrics.split.Inc()
		b.commitOrSplit(ctx, batch[:len(batch)/2])
		b.commitOrSplit(ctx, batch[len(batch)/2:])
	default:
		if transient(err) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		b.cfg.Logger.Error("batch failed", "operations", len(batch), "err", err)
		for _, r := range batch {
			r.answer(result{err: err}, b.metrics)
		}
	}
}

// commitWithRetry commits the batch, again from the start when it lost a race
// or the connection. A connection that is lost at COMMIT leaves open whether it
// was done; the next try finds the keys if so.
func (b *batcher) commitWithRetry(ctx context.Context, batch []*request) error {
	clear(b.mine)
	policy := &backoff.ExponentialBackOff{InitialInterval: 2 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 250 * time.Millisecond}
	conflicts := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := b.commit(ctx, batch)
		if errors.Is(err, errUnknownKeys) {
			err = b.commit(ctx, batch)
		}
		if err == nil {
			return struct{}{}, nil
		}
		b.lookUps = lookUpsAfter
		if errors.Is(err, errConflict) {
			conflicts++
		}
		if !transient(err) || conflicts > maxConflicts {
			return struct{}{}, backoff.Permanent(err)
		}
		b.metrics.retries.Inc()
		return struct{}{}, err
	}, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(maxRetryTime))
	return err
}

// maxConflicts is how many lost races a batch takes before its halves are tried
// alone. A race is lost once; more than a few mean that an account's rows are
// damaged, which must not stop the others.
const maxConflicts = 5

// maxRetryTime is how long a batch is tried while the database is away, before
// its callers are told.
const maxRetryTime = 2 * time.Second

// errUnknownKeys tells that the batch must run again from the start, with its
// keys looked up.
var errUnknownKeys = errors.New("something was refused, and its key may be known")

// commit is one try: one transaction. On success every request has its result.
//
// Keys are mostly new, so they are not looked up first: a known one conflicts
// when it is written. A refusal may hide one (a repeated settlement finds its
// escrow settled), so nothing is refused before the keys were looked up, and that
// under the locks: another core may be doing the same operation at this moment.
// Repeats and refusals seldom come alone; after one, the next batches look first.
func (b *batcher) commit(ctx context.Context, batch []*request) error {
	start, look := time.Now(), b.lookUps > 0
	tx, err := b.store.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.rollback()

	st, err := lockState(ctx, tx, batch)
	if err != nil {
		return err
	}
	known := make(map[keyRef]*knownKey, len(batch))
	if look {
		if err := loadKeys(ctx, tx, batch, known); err != nil {
			return fmt.Errorf("read idempotency keys: %w", err)
		}
	}
	m := b.apply(st, batch, known)
	if m.refused || len(known) > len(m.keys) {
		if b.lookUps = lookUpsAfter; !look {
			return errUnknownKeys
		}
	}
	if len(m.transactions) == 0 {
		return nil
	}
	ids, err := tx.write(ctx, m)
	if errors.Is(err, errConflict) && !look {
		b.lookUps = lookUpsAfter
		return errUnknownKeys
	}
	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}
	if err := tx.commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	b.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	b.metrics.batchSize.Observe(float64(len(batch)))
	b.announce(m.transactions, ids)
	return nil
}

// announce hands the committed events on. It derives them here, in the
// committing goroutine, before the lane takes other requests for the same
// accounts, so that an account's events go out in the order of commits.
func (b *batcher) announce(txs []Transaction, outboxIDs []int64) {
	if b.cfg.Committed == nil {
		return
	}
	pending := make([]bus.Pending, len(txs))
	for i := range txs {
		pending[i] = bus.Pending{ID: outboxIDs[i], CommittedAt: txs[i].CreatedAt, Groups: groups(&txs[i])}
	}
	b.cfg.Committed(pending)
}

func loadKeys(ctx context.Context, tx batchTx, batch []*request, known map[keyRef]*knownKey) error {
	refs := make([]keyRef, len(batch))
	for i, r := range batch {
		refs[i] = r.ref()
	}
	found, err := tx.keys(ctx, refs)
	for i := range found {
		known[found[i].keyRef] = &found[i]
	}
	return err
}

// lockState loads all that the batch's operations touch: escrows first, since
// they tell the users, then wallets.
func lockState(ctx context.Context, tx batchTx, batch []*request) (*state, error) {
	st := &state{wallets: make(map[Account]*wallet, len(batch)), escrows: make(map[uuid.UUID]*Escrow)}
	var ids []uuid.UUID
	accounts := make([]Account, 0, len(batch))
	for _, r := range batch {
		switch r.op.Operation {
		case OpCredit, OpDebit, OpHold:
			accounts = append(accounts, r.op.Account)
		default:
			ids = append(ids, r.op.EscrowID)
			if r.op.Model != "" {
				accounts = append(accounts, r.op.Model)
			}
		}
	}
	if len(ids) > 0 {
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		escrows, err := tx.lockEscrows(ctx, slices.Compact(ids))
		if err != nil {
			return nil, fmt.Errorf("lock escrows: %w", err)
		}
		for i := range escrows {
			st.escrows[escrows[i].ID] = &escrows[i]
			accounts = append(accounts, escrows[i].User)
		}
	}
	if len(accounts) > 0 {
		slices.Sort(accounts)
		wallets, err := tx.lockWallets(ctx, slices.Compact(accounts))
		if err != nil {
			return nil, fmt.Errorf("lock wallets: %w", err)
		}
		for i := range wallets {
			st.wallets[wallets[i].Account] = &wallets[i]
		}
	}
	return st, nil
}

func (r *request) answer(res result, m *metrics) {
	m.count(&r.op, &res)
	r.done <- res
}

// transient tells errors after which the same batch may succeed.
func transient(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, context.DeadlineExceeded) || retryable(err)
}
