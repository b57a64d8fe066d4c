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

// batcher commits batches, one after the other.
type batcher struct {
	store   store
	cfg     Config
	metrics *metrics
	mine    map[uuid.UUID]*request // what this batch's tries did, and for whom
	live    []*request             // reused
	recent  *recent                // shared by the lanes; nil: the store's writes check nothing

	careful int // how many batches are still careful, see commit
	reading int // how many batches still believe nothing that is remembered
}

// carefulFor is how many batches learn from one that went wrong.
const carefulFor = 64

// process commits a batch and answers each of its requests.
func (b *batcher) process(batch []*request) {
	b.careful, b.reading = max(b.careful-1, 0), max(b.reading-1, 0)
	clear(b.mine)
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
	policy := &backoff.ExponentialBackOff{InitialInterval: 2 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 250 * time.Millisecond}
	conflicts := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := b.commit(ctx, batch, b.careful > 0)
		if errors.Is(err, errDoubt) {
			err = b.commit(ctx, batch, true)
		}
		if err == nil {
			return struct{}{}, nil
		}
		b.careful = carefulFor
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

// errDoubt tells that the batch must run again from the start, carefully.
var errDoubt = errors.New("something may be known, or have changed")

// commit is one try: one transaction. On success every request has its result.
//
// Mostly all is new and nobody else writes, so a batch locks nothing and looks no keys up, and believes what earlier batches
// left: it is one statement, and if a key is known after all, or a wallet is not what it was, that fails. A refusal may
// hide the same (a repeated settlement finds its escrow settled, another core brought the points). Then the batch
// is done again carefully: wallets locked and read, then keys looked up, since another core may be doing the same
// operation at this moment. Repeats and other cores' work seldom come alone, so the next batches learn from it.
func (b *batcher) commit(ctx context.Context, batch []*request, careful bool) error {
	start := time.Now()
	if careful {
		b.metrics.careful.Inc()
	}
	tx, err := b.store.begin(ctx, careful)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.rollback()

	believes := b.recent != nil && !careful && b.reading == 0
	st, err := b.load(ctx, tx, batch, believes)
	if err != nil {
		return err
	}
	known := make(map[keyRef]*knownKey, len(batch))
	if careful {
		if err := loadKeys(ctx, tx, batch, known); err != nil {
			return fmt.Errorf("read idempotency keys: %w", err)
		}
	}
	m := b.apply(st, batch, known)
	if len(known) > len(m.keys) {
		b.careful = carefulFor
	}
	if m.refused && !careful {
		b.forget(st)
		return errDoubt
	}
	if len(m.transactions) == 0 {
		return nil
	}
	ids, err := tx.write(ctx, m)
	if errors.Is(err, errConflict) && !careful {
		b.forget(st)
		if believes {
			b.reading = carefulFor
		} else {
			b.careful = carefulFor
		}
		return errDoubt
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
	if b.recent != nil {
		b.recent.store(m)
	}
	return nil
}

func (b *batcher) forget(st *state) {
	if b.recent != nil {
		b.recent.forget(st)
	}
}

// announce hands the committed events on. It derives them here, in the
// committing goroutine, before the lane takes other requests for the same
// accounts, so that an account's events go out in the order of commits.
func (b *batcher) announce(txs []Transaction, outboxIDs []int64) {
	if b.cfg.Committed == nil {
		return
	}
	pending := make([]bus.OutboxRow, len(txs))
	for i := range txs {
		pending[i] = bus.OutboxRow{ID: outboxIDs[i], CommittedAt: txs[i].CreatedAt, Updates: groups(&txs[i])}
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

// load brings all that the batch's operations touch: escrows first, since they
// tell the users, then wallets.
func (b *batcher) load(ctx context.Context, tx batchTx, batch []*request, believes bool) (*state, error) {
	st := &state{wallets: make(map[Account]*wallet, len(batch)), escrows: make(map[uuid.UUID]*Escrow)}
	source := &recent{}
	if believes {
		source = b.recent
	}
	ids, accounts := source.load(st, batch)
	if len(ids) > 0 {
		slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		escrows, err := tx.escrows(ctx, slices.Compact(ids))
		if err != nil {
			return nil, fmt.Errorf("read escrows: %w", err)
		}
		for i := range escrows {
			st.escrows[escrows[i].ID] = &escrows[i]
			if st.wallets[escrows[i].User] == nil {
				accounts = append(accounts, escrows[i].User)
			}
		}
	}
	if len(accounts) > 0 {
		slices.Sort(accounts)
		wallets, err := tx.wallets(ctx, slices.Compact(accounts))
		if err != nil {
			return nil, fmt.Errorf("read wallets: %w", err)
		}
		for i := range wallets {
			st.wallets[wallets[i].Account] = &wallets[i]
		}
	}
	return st, nil
}

// transient tells errors after which the same batch may succeed.
func transient(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, context.DeadlineExceeded) || retryable(err)
}
