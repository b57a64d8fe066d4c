package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// committer commits batches, one after the other. doc.go has the state chart of a batch.
type committer struct {
	store   store
	cfg     Config
	metrics *metrics
	running *runningBatches
	writes  *writeHealth // shared by all committers
	cache   *commitCache // shared by all committers; nil if the store has no optimistic writes

	// These fields belong to the scheduler.
	batch     []*request
	startedAt time.Time

	// attempts maps the transactions that the attempts of the current batch made to their requests.
	// If the answer to a commit was lost, the next attempt finds these transactions in the
	// database.
	attempts map[uuid.UUID]*request

	live []*request // buffer for commitBatch

	lockedFor    int // number of batches that still use commitLocked at once
	skipCacheFor int // number of batches that still read instead of using the cache
}

// afterConflict is the number of batches for which a committer avoids the path that failed.
// Conflicts tend to cluster: a client retries many requests, or another core works on the same
// accounts.
const afterConflict = 64

// commitBatch commits a batch and sends each request its result.
func (c *committer) commitBatch(batch []*request) {
	c.lockedFor = max(c.lockedFor-1, 0)
	c.skipCacheFor = max(c.skipCacheFor-1, 0)
	clear(c.attempts)

	c.running.addBatch(c)
	defer c.running.removeBatch(c)

	live := c.live[:0]
	for _, r := range batch {
		err := r.ctx.Err()
		if err != nil {
			r.sendResult(result{err: fmt.Errorf("operation was not done: %w", err)}, c.metrics)
			continue
		}

		live = append(live, r)
	}

	// The commit has its own deadline. A caller that disconnects must not cancel the other
	// operations of the batch.
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.CommitTimeout)
	defer cancel()

	c.commitOrSplit(ctx, live)
	clear(live)
	c.live = live
}

// commitOrSplit commits a batch. If the database rejects the batch with an error that a retry does
// not remove, one operation must be the cause. Then commitOrSplit commits the two halves, in order,
// and splits them again if necessary. In the end only the failing operation gets the error.
func (c *committer) commitOrSplit(ctx context.Context, batch []*request) {
	if len(batch) == 0 {
		return
	}

	err := c.commitWithRetry(ctx, batch)
	switch {
	case err == nil:
		for _, r := range batch {
			r.sendResult(r.result, c.metrics)
		}
	case len(batch) > 1 && canSplitAfter(err):
		c.metrics.splits.Inc()
		half := len(batch) / 2
		c.commitOrSplit(ctx, batch[:half])
		c.commitOrSplit(ctx, batch[half:])
	default:
		c.failBatch(batch, err)
	}
}

// failBatch sends the error to all requests of a batch.
func (c *committer) failBatch(batch []*request, err error) {
	if isTransient(err) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		c.writes.noteFailure(len(batch), err)
	} else {
		c.cfg.Logger.Error("committing a batch failed", "operations", len(batch), "error", err)
	}

	for _, r := range batch {
		r.sendResult(result{err: err}, c.metrics)
	}
}

// maxConflicts is the number of conflicts after which a batch is split. A batch rarely has two
// conflicts in a row. If it has more, the rows of an account are damaged, and the other operations
// must be committed without it.
const maxConflicts = 5

// maxRetryTime bounds the retries of a batch while the database is unavailable. After it the
// callers get ErrUnavailable.
const maxRetryTime = 2 * time.Second

// commitWithRetry commits a batch. After a transient error it starts again from the beginning. If
// the connection is lost during COMMIT, it is unknown whether the batch was committed. The next
// attempt uses locks, so if the batch was committed, it finds the idempotency keys.
func (c *committer) commitWithRetry(ctx context.Context, batch []*request) error {
	policy := &backoff.ExponentialBackOff{
		InitialInterval:     2 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         250 * time.Millisecond,
	}

	conflicts := 0
	attempt := func() (struct{}, error) {
		err := c.commitOnce(ctx, batch)
		if err == nil {
			return struct{}{}, nil
		}

		if isLostWrite(err) {
			c.store.durability().noteLostWrite()
		}

		c.lockedFor = afterConflict
		if errors.Is(err, errConflict) {
			conflicts++
		}

		if !isTransient(err) || isLasting(err) || conflicts > maxConflicts {
			return struct{}{}, backoff.Permanent(err)
		}

		c.metrics.retries.Inc()
		return struct{}{}, err
	}

	_, err := backoff.Retry(
		ctx,
		attempt,
		backoff.WithBackOff(policy),
		backoff.WithMaxElapsedTime(maxRetryTime),
	)
	return err
}

// commitOnce makes one attempt to commit a batch. It tries commitOptimistic first, unless a recent
// batch had a conflict.
func (c *committer) commitOnce(ctx context.Context, batch []*request) error {
	err := c.store.durability().proveAfterLoss(ctx)
	if err != nil {
		return err
	}

	if c.lockedFor == 0 {
		err := c.commitOptimistic(ctx, batch)
		if !errors.Is(err, errRetryLocked) {
			return err
		}
	}

	return c.commitLocked(ctx, batch)
}

// isTransient reports whether the same batch may succeed after the error.
func isTransient(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, context.DeadlineExceeded) || isRetryable(err)
}

// isLostWrite reports whether the batch may have been committed although there was an error. If it
// was, its session may still wait for the synchronous standby.
func isLostWrite(err error) bool {
	for _, target := range []error{errConflict, errUnproven, pgconn.ErrConnect} {
		if errors.Is(err, target) {
			return false
		}
	}

	var pe *pq.Error
	if errors.As(err, &pe) {
		return isSessionEnd(pe)
	}

	return isTransient(err)
}

// canSplitAfter reports whether one operation of a batch may have caused the error.
func canSplitAfter(err error) bool {
	return !isTransient(err) || errors.Is(err, errConflict)
}
