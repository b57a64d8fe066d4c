package relay

import (
	"context"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// publishTimeout bounds one publish, including the retries of go-redis. A Redis that hangs must
	// not block a batch for longer, and a call to a node of a cluster that hangs must end before the
	// next one can go to the node that takes its place.
	publishTimeout = 2 * time.Second
	// gapTimeout is how long a row that Redis answered Gap waits in memory. Usually another process
	// is publishing its predecessor at the same time. After that the row is left to the sweep.
	gapTimeout = 100 * time.Millisecond
	// gapRetryInterval is the pause between attempts to publish the rows in the gap queue.
	gapRetryInterval = 5 * time.Millisecond
	// ackDelay is how long published rows gather, so that one statement deletes many rows.
	ackDelay = 20 * time.Millisecond
	// ackChunk bounds the rows of one delete.
	ackChunk = 2000
)

// refusal is an update that Redis did not store, and its outcome.
type refusal struct {
	row     int64 // id in the outbox
	update  *bus.AccountUpdate
	outcome publish.Outcome
}

// publishResult is the result of publishing rows.
type publishResult struct {
	published []int64         // ids of the rows of which Redis has all updates
	remaining []bus.OutboxRow // the other rows, in order
	refusals  []refusal
}

// publishRows publishes rows in the order given, without the updates of unavailable partitions. The
// error means that some updates got no answer. Their rows are in remaining, without a refusal.
func (r *Relay) publishRows(ctx context.Context, rows []bus.OutboxRow, unavailable map[int]bool) (publishResult, error) {
	pubs := make([]publish.Publication, 0, 2*len(rows))
	for i := range rows {
		for j := range rows[i].Updates {
			u := &rows[i].Updates[j]
			if !r.isInPartitions(u, unavailable) {
				pubs = append(pubs, publish.Publication{Update: *u})
			}
		}
	}

	outcomes, err := r.publishWithTimeout(ctx, pubs)

	now := time.Now()
	result := publishResult{published: make([]int64, 0, len(rows))}
	next := 0 // index of the next outcome

	for i := range rows {
		row := &rows[i]
		complete := true
		for j := range row.Updates {
			u := &row.Updates[j]
			if r.isInPartitions(u, unavailable) {
				complete = false
				continue
			}

			o := outcomes[next]
			next++
			if o.Status == bus.Duplicate && o.Last > u.Last() {
				r.suspectFork(u.Account, 0)
			}

			if o.Done() {
				continue
			}

			complete = false
			if o.Status != bus.Unknown {
				result.refusals = append(result.refusals, refusal{row: row.ID, update: u, outcome: o})
			}
		}

		if !complete {
			result.remaining = append(result.remaining, *row)
			continue
		}

		result.published = append(result.published, row.ID)
		r.metrics.delay.Observe(now.Sub(row.CommittedAt).Seconds())
		r.recordSpan(row, now)
	}

	return result, err
}

// publishWithTimeout is Publisher.Publish with a timeout and the relay's metrics. It records the
// partitions that did not answer, unless ctx ended.
func (r *Relay) publishWithTimeout(ctx context.Context, pubs []publish.Publication) ([]publish.Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()

	outcomes, err := r.pub.Publish(limited, pubs)
	r.metrics.countOutcomes(pubs, outcomes, err)
	if ctx.Err() == nil && (err != nil || r.unavailablePartitions() != nil) {
		err = r.recordAvailability(pubs, outcomes, err)
	}

	return outcomes, err
}

// publishOffers publishes offered rows until ctx ends, and then the queued rows until working ends.
// The next batch gathers while one is being published.
func (r *Relay) publishOffers(ctx, working context.Context) {
	gaps := gapQueue{accounts: map[string]int{}}
	retry := time.NewTicker(gapRetryInterval)
	retry.Stop()
	defer retry.Stop()

	for ctx.Err() == nil {
		var retryDue <-chan time.Time // nil while the gap queue is empty
		if len(gaps.rows) > 0 {
			retryDue = retry.C
		}

		retryGaps := false
		select {
		case <-ctx.Done():
		case <-r.queueReady:
		case <-retryDue:
			retryGaps = true
		}

		before := len(gaps.rows)
		r.publishBatch(working, &gaps, retryGaps)
		if before == 0 && len(gaps.rows) > 0 {
			retry.Reset(gapRetryInterval)
		} else if len(gaps.rows) == 0 {
			retry.Stop()
		}
	}

	for working.Err() == nil && !r.redisDown.Load() {
		published := r.publishBatch(working, &gaps, true)
		if published == 0 {
			return
		}
	}
}

// nextBatch removes up to one batch of rows from the queue.
func (r *Relay) nextBatch() []bus.OutboxRow {
	r.mu.Lock()
	defer r.mu.Unlock()

	if len(r.queue) <= r.cfg.MaxBatch {
		batch := r.queue
		r.queue = nil
		r.queueBytes = 0

		return batch
	}

	batch := r.queue[:r.cfg.MaxBatch:r.cfg.MaxBatch]
	r.queue = r.queue[r.cfg.MaxBatch:]
	for i := range batch {
		r.queueBytes -= payloadBytes(&batch[i])
	}

	sendToken(r.queueReady)
	return batch
}

// publishBatch publishes one batch of new rows and returns their number. If retryGaps is true, it
// publishes the rows of the gap queue before them. Rows of a former database are discarded.
func (r *Relay) publishBatch(ctx context.Context, gaps *gapQueue, retryGaps bool) int {
	r.publishing.Lock()
	defer r.publishing.Unlock()

	batch := r.nextBatch()
	if gaps.ledger != r.ledger.Load() {
		gaps.discardRows()
		gaps.ledger = r.ledger.Load()
	}

	if r.isLedgerReplaced() {
		r.metrics.deferred.Add(float64(len(batch)))
		sendToken(r.sweepNow)
		return 0
	}

	r.publishOffered(ctx, batch, gaps, retryGaps)
	return len(batch)
}

// publishOffered publishes a batch and, if retryGaps is true, the gap queue. r.publishing is held.
func (r *Relay) publishOffered(ctx context.Context, batch []bus.OutboxRow, gaps *gapQueue, retryGaps bool) {
	now := time.Now()
	rows := batch
	if len(gaps.rows) > 0 {
		if retryGaps {
			rows = append(gaps.beginRetry(), batch...)
		} else {
			rows = gaps.addFollowers(batch, now, r.cfg.MaxQueue)
		}
	}

	if len(rows) == 0 {
		return
	}

	result, err := r.publishRows(ctx, rows, r.unavailablePartitions())
	r.acknowledgeRows(result.published)
	if err != nil && (ctx.Err() != nil || r.redisDown.Load()) {
		gaps.discardRows()
		return
	}

	r.metrics.gaps.Add(float64(len(result.refusals)))
	statuses := map[int64]bus.Status{} // status of the last refusal, by row
	for _, refused := range result.refusals {
		statuses[refused.row] = refused.outcome.Status
	}

	for i := range result.remaining {
		row := &result.remaining[i]
		status := statuses[row.ID]
		switch {
		case status == bus.Gap && gaps.addRow(*row, now, r.cfg.MaxQueue):
		case status == bus.Unwritable: // a repeat would fail too, so the row waits for the next tick
		case status == bus.Unknown: // its partition is unavailable
			r.metrics.deferred.Inc()
			sendToken(r.sweepNow)
		default:
			sendToken(r.sweepNow)
		}
	}

	gaps.endRetry()
}

// handleRedisDown empties the queue. From now on all rows are left to the sweep that runs when
// Redis answers again.
func (r *Relay) handleRedisDown(err error) {
	r.logOutage("publishing failed; retrying, the outbox grows until Redis is back", err)
	r.redisDown.Store(true)
	r.mu.Lock()
	r.metrics.deferred.Add(float64(len(r.queue)))
	r.queue = nil
	r.queueBytes = 0
	r.mu.Unlock()
	sendToken(r.sweepNow)
}
