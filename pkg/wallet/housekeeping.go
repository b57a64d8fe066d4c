package wallet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keepHouse refunds expired escrows and forgets old idempotency keys until ctx
// ends. Several cores may do it at once: an escrow ends once, whoever is first.
func (l *Ledger) keepHouse(ctx context.Context) {
	const (
		every     = time.Second
		keysEvery = time.Minute
	)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var keysAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := l.expire(ctx, now); err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("expired escrows could not be refunded; next try in a second", "err", err)
			}
			if now.Sub(keysAt) < keysEvery {
				continue
			}
			keysAt = now
			if err := l.forgetKeys(ctx, now); err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("old idempotency keys could not be removed; next try in a minute", "err", err)
			}
		}
	}
}

// forgetKeys removes idempotency keys that were kept for long enough, in short
// transactions, so that the hot path waits for none.
func (l *Ledger) forgetKeys(ctx context.Context, now time.Time) error {
	const atATime = 1000
	for {
		n, err := l.store.forgetKeys(ctx, now, l.cfg.KeyRetention, atATime)
		if err != nil || n < atATime || ctx.Err() != nil {
			return err
		}
	}
}

// expire refunds escrows whose time has come, through the same queue as
// everybody else; a settlement that races it has exactly one winner. Many that are
// due at once share commits, and one that cannot be refunded holds up no other.
func (l *Ledger) expire(ctx context.Context, now time.Time) error {
	const atATime = 100
	var failed error
	for after := (dueEscrow{}); ; {
		due, err := l.store.dueEscrows(ctx, now, after, atATime)
		if err != nil {
			return errors.Join(failed, err)
		}
		requests := make([]*request, 0, len(due))
		for i := range due {
			r := due[i].refund(ctx)
			if err := l.enqueue(r); err != nil { // what is in the queue is done all the same
				return errors.Join(failed, err)
			}
			requests = append(requests, r)
		}
		for i, r := range requests {
			if _, err := r.wait(); err != nil && !errors.Is(err, ErrEscrowProcessed) && failed == nil {
				failed = fmt.Errorf("escrow %s: %w", due[i].ID, err)
			}
		}
		if len(due) < atATime || ctx.Err() != nil {
			return failed
		}
		after = due[len(due)-1]
	}
}

// refund asks for what the core does by itself.
func (d *dueEscrow) refund(ctx context.Context) *request {
	op := Op{
		// The blank keeps the key apart from all that clients can send.
		Operation: OpRefund, IdempotencyKey: "expiry " + d.ID.String(), EscrowID: d.ID, Amount: d.Amount,
		Reason: ReasonExpired, QueueItemID: d.QueueItemID,
	}
	r := &request{ctx: ctx, op: op, hash: requestHash(&op), done: make(chan result, 1)}
	r.name()
	return r
}

// ReasonExpired is the reason of the refund that the core makes by itself.
const ReasonExpired = "rope_drop_timeout"
