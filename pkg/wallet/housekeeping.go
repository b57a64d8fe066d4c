package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// runHousekeeping refunds expired escrows and removes old idempotency keys until ctx ends. Several
// cores may do this at the same time, because an escrow can be closed only once.
func (l *Ledger) runHousekeeping(ctx context.Context) {
	const (
		escrowInterval = time.Second
		keyInterval    = time.Minute
	)

	l.metrics.noteSuccess(loopEscrowExpiry)
	l.metrics.noteSuccess(loopKeyDeletion)
	tick := time.NewTicker(escrowInterval)
	defer tick.Stop()

	refundLogLimit := newFailureLogLimit()
	keyLogLimit := newFailureLogLimit()
	var keysRemovedAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			err := l.refundExpired(ctx, now)
			if err != nil && ctx.Err() == nil {
				refundLogLimit.Do(func() {
					l.cfg.Logger.Warn("refunding expired escrows failed; retrying each second", "error", err)
				})
			}

			if now.Sub(keysRemovedAt) < keyInterval {
				continue
			}

			keysRemovedAt = now
			err = l.removeOldKeys(ctx, now)
			if err != nil && ctx.Err() == nil {
				keyLogLimit.Do(func() {
					l.cfg.Logger.Warn("removing old idempotency keys failed; retrying each minute", "error", err)
				})
			}
		}
	}
}

// removeOldKeys removes the idempotency keys that are older than Config.KeyRetention. It uses short
// transactions, so that commits do not wait for it.
func (l *Ledger) removeOldKeys(ctx context.Context, now time.Time) error {
	const pageSize = 1000
	for {
		removed, err := l.store.deleteOldKeys(ctx, now, l.cfg.KeyRetention, pageSize)
		if err != nil {
			return err
		}

		if removed < pageSize {
			l.metrics.noteSuccess(loopKeyDeletion)
			return nil
		}

		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// refundExpired refunds the escrows that have expired by now. The refunds go through the queue like
// all operations. If a settlement of the same escrow runs at the same time, exactly one of the two
// succeeds. The refunds of a page share commits. If a refund fails, refundExpired still makes the
// others and returns the first error.
func (l *Ledger) refundExpired(ctx context.Context, now time.Time) error {
	const pageSize = 100
	var firstErr error
	after := dueEscrow{}
	for {
		due, err := l.store.listDueEscrows(ctx, now, after, pageSize)
		if err != nil {
			return errors.Join(firstErr, err)
		}

		requests, err := l.enqueueRefunds(ctx, due)
		if err != nil {
			return errors.Join(firstErr, err)
		}

		for i, r := range requests {
			_, err := r.awaitResult()
			if errors.Is(err, ErrEscrowProcessed) {
				continue // another operation closed the escrow first
			}

			if err != nil && firstErr == nil {
				firstErr = fmt.Errorf("refund escrow %s: %w", due[i].ID, err)
			}
		}

		if len(due) < pageSize || ctx.Err() != nil {
			if firstErr == nil {
				l.metrics.noteSuccess(loopEscrowExpiry)
			}

			return firstErr
		}

		after = due[len(due)-1]
	}
}

// enqueueRefunds enqueues the refunds of the due escrows. If the queue is full, it returns an
// error. The refunds that are already in the queue are done nevertheless.
func (l *Ledger) enqueueRefunds(ctx context.Context, due []dueEscrow) ([]*request, error) {
	requests := make([]*request, 0, len(due))
	for i := range due {
		r := newValidatedRequest(ctx, due[i].refundOp())
		err := l.enqueueRequest(r)
		if err != nil {
			return nil, err
		}

		requests = append(requests, r)
	}

	return requests, nil
}

// ReasonExpired is the reason of the automatic refund of an expired escrow.
const ReasonExpired = "rope_drop_timeout"

// refundOp returns the refund of an expired escrow. Its idempotency key contains a space, so that
// no client can send the same key. Op.Validate would reject it.
func (d *dueEscrow) refundOp() *Op {
	return &Op{
		Operation:      OpRefund,
		IdempotencyKey: "expiry " + d.ID.String(),
		EscrowID:       d.ID,
		Amount:         d.Amount,
		Reason:         ReasonExpired,
		QueueItemID:    d.QueueItemID,
	}
}
