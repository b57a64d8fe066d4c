package relay

import (
	"context"
	"time"
)

// acknowledgeRows queues published rows to be deleted from the outbox.
func (r *Relay) acknowledgeRows(ids []int64) {
	if len(ids) == 0 {
		return
	}

	r.mu.Lock()
	r.acks = append(r.acks, ids...)
	r.mu.Unlock()
	sendToken(r.acksReady)
}

// runAcknowledge deletes the queued rows from the outbox until finished is closed, and then once
// more. A row that cannot be deleted is published again by the sweep and answered Duplicate.
func (r *Relay) runAcknowledge(ctx context.Context, finished <-chan struct{}) {
	idle := time.NewTicker(r.cfg.Check)
	defer idle.Stop()

	for ending := false; ; {
		if !ending {
			select {
			case <-r.acksReady:
			case <-idle.C:
			case <-finished:
				ending = true
			}
		}

		if !ending {
			delay := time.NewTimer(ackDelay)
			select {
			case <-delay.C:
			case <-finished:
				ending = true
			}

			delay.Stop()
		}

		err := r.deleteAcknowledged(ctx)
		if err != nil && ctx.Err() == nil {
			r.logLimit.Do(func() {
				r.cfg.Logger.Warn("deleting published outbox rows failed; the sweep will retry", "error", err)
			})
		}

		if err == nil {
			r.metrics.noteSuccess(loopAcknowledge)
		}

		if ending {
			return
		}
	}
}

// deleteAcknowledged deletes the queued rows, unless the ledger's database was replaced: there, their
// ids may be those of other rows.
func (r *Relay) deleteAcknowledged(ctx context.Context) error {
	r.deleting.Lock()
	defer r.deleting.Unlock()

	r.mu.Lock()
	ids := r.acks
	r.acks = nil
	r.mu.Unlock()

	if r.isLedgerReplaced() {
		return nil
	}

	return r.deleteRows(ctx, ids)
}

// deleteRows deletes rows from the outbox, at most ackChunk in one call.
func (r *Relay) deleteRows(ctx context.Context, ids []int64) error {
	for len(ids) > 0 {
		n := min(len(ids), ackChunk)
		err := r.src.Published(ctx, ids[:n])
		if err != nil {
			r.metrics.errors.WithLabelValues(reasonOutbox).Inc()
			return err
		}

		ids = ids[n:]
	}

	return nil
}
