package wallet

import (
	"context"
	"errors"
	"time"
)

// keepHouse refunds expired escrows and forgets old idempotency keys until ctx
// ends. Several cores may do it at once: an escrow ends once, whoever is first.
func (l *Ledger) keepHouse(ctx context.Context) {
	const (
		every       = time.Second
		keysEvery   = time.Minute
		keysAtATime = 1000 // short transactions, so that the hot path waits for none
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
			for n := int64(keysAtATime); n == keysAtATime && ctx.Err() == nil; {
				var err error
				if n, err = l.store.forgetKeys(ctx, now.Add(-l.cfg.KeyRetention), keysAtATime); err != nil {
					l.cfg.Logger.Warn("old idempotency keys could not be removed; next try in a minute", "err", err)
					break
				}
			}
		}
	}
}

// expire refunds escrows whose time has come, through the same queue as
// everybody else; a settlement that races it has exactly one winner.
func (l *Ledger) expire(ctx context.Context, now time.Time) error {
	const atATime = 100
	ids, err := l.store.dueEscrows(ctx, now, atATime)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, err := l.store.escrow(ctx, id)
		if err != nil {
			return err
		}
		// The blank keeps the key apart from all that clients can send.
		op := Op{
			Operation: OpRefund, IdempotencyKey: "expiry " + id.String(), EscrowID: id, Amount: e.Amount,
			Reason: ReasonExpired, QueueItemID: e.QueueItemID,
		}
		r := &request{ctx: ctx, op: op, hash: requestHash(&op), done: make(chan result, 1)}
		if err := l.enqueue(r); err != nil {
			return err
		}
		_, err = r.wait()
		if err != nil && !errors.Is(err, ErrEscrowProcessed) {
			return err
		}
	}
	return nil
}

// ReasonExpired is the reason of the refund that the core makes by itself.
const ReasonExpired = "rope_drop_timeout"
