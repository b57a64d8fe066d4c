package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// runHousekeeping refunds expired escrows and removes old idempotency keys until ctx ends. Several cores
// may do so at the same time, since an escrow can be closed only once.
func (l *Ledger) runHousekeeping(ctx context.Context) {
	const (
		escrowInterval = time.Second
		keyInterval    = time.Minute
	)
	tick := time.NewTicker(escrowInterval)
	defer tick.Stop()
	var keysRemovedAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			err := l.refundExpired(ctx, now)
			if err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("refunding expired escrows failed; retrying in a second", "err", err)
			}

			if now.Sub(keysRemovedAt) < keyInterval {
				continue
			}

			keysRemovedAt = now
			err = l.removeOldKeys(ctx, now)
			if err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("removing old idempotency keys failed; retrying in a minute", "err", err)
			}
		}
	}
}

// removeOldKeys removes the idempotency keys that are older than Config.KeyRetention. It does so
// in short transactions, so that commits do not wait for it.
func (l *Ledger) removeOldKeys(ctx context.Context, now time.Time) error {
	const pageSize = 1000
	for {
		removed, err := l.store.deleteOldKeys(ctx, now, l.cfg.KeyRetention, pageSize)
		if err != nil || removed < pageSize || ctx.Err() != nil {
			return err
		}
	}
}

// refundExpired refunds the escrows that have expired by now. The refunds go through the queue
// like all operations, so a settlement that races one has exactly one winner. Escrows that expire
// at the same time share commits. One that cannot be refunded does not stop the others.
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
			if err != nil && !errors.Is(err, ErrEscrowProcessed) && firstErr == nil {
				firstErr = fmt.Errorf("escrow %s: %w", due[i].ID, err)
			}
		}

		if len(due) < pageSize || ctx.Err() != nil {
			return firstErr
		}

		after = due[len(due)-1]
	}
}

// enqueueRefunds stops at the first refund for which the queue has no room. The refunds before it
// are done all the same.
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

// ReasonExpired is the reason of the refund that the core makes by itself.
const ReasonExpired = "rope_drop_timeout"

// refundOp is not valid by Op.Validate, since its key has a blank. No client can send such a key.
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
