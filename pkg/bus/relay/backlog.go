package relay

import (
	"context"
	"time"
)

// watchBacklog updates the outbox gauges every Config.Check until ctx ends, also while nothing can
// be published.
func (r *Relay) watchBacklog(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Check)
	defer tick.Stop()

	for ctx.Err() == nil {
		r.measureBacklog(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (r *Relay) measureBacklog(ctx context.Context) {
	rows, oldest, err := r.src.Backlog(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.metrics.errors.WithLabelValues(reasonOutbox).Inc()
		}

		return
	}

	age := 0.0
	if !oldest.IsZero() {
		age = max(0, time.Since(oldest).Seconds())
	}

	r.metrics.noteSuccess(loopBacklog)
	r.metrics.backlog.Set(float64(rows))
	r.metrics.oldest.Set(age)
}
