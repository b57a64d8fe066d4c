package relay

import (
	"context"
	"time"
)

// acknowledgeRows has rows deleted from the outbox, soon.
func (r *Relay) acknowledgeRows(ids []int64) {
	if len(ids) == 0 {
		return
	}
	r.mu.Lock()
	r.acks = append(r.acks, ids...)
	r.mu.Unlock()
	signal(r.acked)
}

// runAcknowledge deletes what the fast way has published, until finished is closed
// and nothing is left. Rows that cannot be deleted are published again by the sweep and
// answered as duplicates.
func (r *Relay) runAcknowledge(ctx context.Context, finished <-chan struct{}) {
	for ending := false; ; {
		if !ending {
			select {
			case <-r.acked:
			case <-finished:
				ending = true
			}
		}
		if !ending {
			pause := time.NewTimer(ackDelay)
			select {
			case <-pause.C:
			case <-finished:
				ending = true
			}
			pause.Stop()
		}
		r.mu.Lock()
		ids := r.acks
		r.acks = nil
		r.mu.Unlock()
		if err := r.deleteRows(ctx, ids); err != nil && ctx.Err() == nil {
			r.complain.Do(func() { r.cfg.Logger.Warn("published rows stay in the outbox for now", "error", err) })
		}
		if ending {
			return
		}
	}
}

// deleteRows deletes rows from the outbox, a bounded number at a time.
func (r *Relay) deleteRows(ctx context.Context, ids []int64) error {
	for len(ids) > 0 {
		n := min(len(ids), ackChunk)
		if err := r.src.Published(ctx, ids[:n]); err != nil {
			r.metrics.errors.WithLabelValues("outbox").Inc()
			return err
		}
		ids = ids[n:]
	}
	return nil
}
