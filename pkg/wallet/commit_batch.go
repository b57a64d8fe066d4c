package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
)

// committer commits batches, one after the other. doc.go has the chart of a batch's states.
type committer struct {
	store   store
	cfg     Config
	metrics *metrics
	cache   *commitCache // shared by all committers; nil: the store's writes check nothing

	// The scheduler's fields.
	batch     []*request
	startedAt time.Time

	// Transactions that tries of the current batch made, and for whom. A later try may find one
	// of them in the database, if only the answer to the commit was lost.
	attempts map[uuid.UUID]*request
	live     []*request // reused

	lockedFor    int // so many batches still use commitLocked at once
	skipCacheFor int // so many batches still read what the cache may have
}

// afterConflict is for how many batches a committer avoids what has just failed. Conflicts tend to
// come together: a client repeats many requests, or another core works on the same accounts.
const afterConflict = 64

// commitTimeout bounds a batch with all of its retries.
const commitTimeout = 10 * time.Second

// commitBatch commits a batch and answers each of its requests.
func (c *committer) commitBatch(batch []*request) {
	c.lockedFor = max(c.lockedFor-1, 0)
	c.skipCacheFor = max(c.skipCacheFor-1, 0)
	clear(c.attempts)
	live := c.live[:0]
	for _, r := range batch {
		err := r.ctx.Err()
		if err != nil {
			r.sendResult(result{err: fmt.Errorf("not done: %w", err)}, c.metrics)
			continue
		}

		live = append(live, r)
	}

	// The commit has its own deadline. A caller that disconnects must not cancel its neighbours.
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	c.commitOrSplit(ctx, live)
	clear(live)
	c.live = live
}

// commitOrSplit commits the batch. If the database refuses it for a reason that a retry does not
// remove, one operation must be the cause. Then the halves are committed alone, in order, and
// halved again, until the cause stands alone and only it is answered with the error.
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
		c.metrics.split.Inc()
		half := len(batch) / 2
		c.commitOrSplit(ctx, batch[:half])
		c.commitOrSplit(ctx, batch[half:])
	default:
		c.failBatch(batch, err)
	}
}

func (c *committer) failBatch(batch []*request, err error) {
	if isTransient(err) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c.cfg.Logger.Error("batch failed", "operations", len(batch), "err", err)
	for _, r := range batch {
		r.sendResult(result{err: err}, c.metrics)
	}
}

// maxConflicts is how many lost races a batch takes before it is halved. A race is rarely lost
// twice. More losses mean that an account's rows are damaged, which must not stop the others.
const maxConflicts = 5

// maxRetryTime is how long a batch is retried while the database is unavailable, before its
// callers get ErrUnavailable.
const maxRetryTime = 2 * time.Second

// commitWithRetry commits the batch and starts again from the beginning after a transient error.
// If the connection is lost during COMMIT, it is unknown whether the batch was committed. The next
// try is locked, so it finds the idempotency keys if it was.
func (c *committer) commitWithRetry(ctx context.Context, batch []*request) error {
	policy := &backoff.ExponentialBackOff{
		InitialInterval:     2 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 0.5,
		MaxInterval:         250 * time.Millisecond,
	}

	conflicts := 0
	try := func() (struct{}, error) {
		err := c.commitOnce(ctx, batch)
		if err == nil {
			return struct{}{}, nil
		}

		c.lockedFor = afterConflict
		if errors.Is(err, errConflict) {
			conflicts++
		}

		if !isTransient(err) || conflicts > maxConflicts {
			return struct{}{}, backoff.Permanent(err)
		}

		c.metrics.retries.Inc()
		return struct{}{}, err
	}

	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(maxRetryTime))
	return err
}

// commitOnce is one try: optimistic and, if that is not enough, locked.
func (c *committer) commitOnce(ctx context.Context, batch []*request) error {
	if c.lockedFor == 0 {
		err := c.commitOptimistic(ctx, batch)
		if !errors.Is(err, errRetryLocked) {
			return err
		}
	}
	return c.commitLocked(ctx, batch)
}

// isTransient reports errors after which the same batch may succeed.
func isTransient(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, context.DeadlineExceeded) || isRetryable(err)
}

// canSplitAfter reports errors that one operation of a batch may have caused.
func canSplitAfter(err error) bool { return !isTransient(err) || errors.Is(err, errConflict) }
