package relay

import (
	"context"
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
)

const (
	// publishTimeout bounds one publish, with go-redis' own attempts: a Redis that
	// hangs must not hold a batch for longer than it takes to give it up.
	publishTimeout = 3 * time.Second
	// holdFor is how long a row that Redis answered Gap stays in memory: its
	// predecessor is mostly on its way from another process. Then the sweep has it.
	holdFor = 100 * time.Millisecond
	// holdPause is the pause between attempts to publish held rows.
	holdPause = 5 * time.Millisecond
	// ackDelay lets rows gather before they are deleted, so that a delete is one
	// statement for many and not one for each batch.
	ackDelay = 20 * time.Millisecond
	// ackChunk bounds the rows of one delete.
	ackChunk = 2000
)

// refusal is a group that Redis did not take, and why.
type refusal struct {
	row     int64 // id in the outbox
	group   *bus.AccountUpdate
	outcome publish.Outcome
}

// publishRows publishes rows in the order given, without groups in partitions that are
// away, and tells which are done with all their groups, which are not, and what
// Redis refused. With an error, groups that got no answer are neither.
func (r *Relay) publishRows(ctx context.Context, rows []bus.OutboxRow, away map[int]bool) (done []int64, left []bus.OutboxRow, refused []refusal, err error) {
	pubs := make([]publish.Publication, 0, 2*len(rows))
	for i := range rows {
		for j := range rows[i].Updates {
			if g := &rows[i].Updates[j]; !r.skips(away, g) {
				pubs = append(pubs, publish.Publication{Update: *g})
			}
		}
	}
	outcomes, err := r.publish(ctx, pubs)
	now, k := time.Now(), 0
	done = make([]int64, 0, len(rows))
	for i := range rows {
		row, whole := &rows[i], true
		for j := range row.Updates {
			if r.skips(away, &row.Updates[j]) {
				whole = false
				continue
			}
			o := outcomes[k]
			if o.Status == bus.Duplicate && o.Last > row.Updates[j].Last() {
				r.suspectRollback(row.Updates[j].Account, o.Last)
			}
			if !o.Done() {
				whole = false
				if o.Status != bus.Unknown {
					refused = append(refused, refusal{row: row.ID, group: &row.Updates[j], outcome: o})
				}
			}
			k++
		}
		if !whole {
			left = append(left, *row)
			continue
		}
		done = append(done, row.ID)
		r.metrics.delay.Observe(now.Sub(row.CommittedAt).Seconds())
		r.recordSpan(row, now)
	}
	return done, left, refused, err
}

// publish is Publisher.Publish with a deadline and the relay's metrics. It notes what
// gave no answer, unless ctx ended.
func (r *Relay) publish(ctx context.Context, pubs []publish.Publication) ([]publish.Outcome, error) {
	within, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	outcomes, err := r.pub.Publish(within, pubs)
	r.metrics.count(pubs, outcomes, err)
	if ctx.Err() == nil && (err != nil || r.unavailablePartitions() != nil) {
		err = r.recordAnswers(pubs, outcomes, err)
	}
	return outcomes, err
}

// publishOffers publishes what is offered until ctx ends, then what is queued.
// While one batch is on its way the next one gathers.
func (r *Relay) publishOffers(ctx, working context.Context) {
	held := heldRows{accounts: map[string]int{}}
	retry := time.NewTicker(holdPause)
	retry.Stop()
	defer retry.Stop()
	for ctx.Err() == nil {
		var due <-chan time.Time // never, when nothing is held
		if len(held.rows) > 0 {
			due = retry.C
		}
		again := false
		select {
		case <-ctx.Done():
		case <-r.queued:
		case <-due:
			again = true
		}
		before := len(held.rows)
		r.publishBatch(working, r.takeBatch(), &held, again)
		if before == 0 && len(held.rows) > 0 {
			retry.Reset(holdPause)
		} else if len(held.rows) == 0 {
			retry.Stop()
		}
	}
	for batch := r.takeBatch(); len(batch) > 0 && working.Err() == nil && !r.down.Load(); batch = r.takeBatch() {
		r.publishBatch(working, batch, &held, true)
	}
}

// takeBatch empties the queue, up to one batch.
func (r *Relay) takeBatch() []bus.OutboxRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) <= r.cfg.MaxBatch {
		batch := r.queue
		r.queue, r.weight = nil, 0
		return batch
	}
	batch := r.queue[:r.cfg.MaxBatch:r.cfg.MaxBatch]
	r.queue = r.queue[r.cfg.MaxBatch:]
	for i := range batch {
		r.weight -= weight(&batch[i])
	}
	signal(r.queued)
	return batch
}

// publishBatch publishes new rows, after the held ones when it is time for those.
func (r *Relay) publishBatch(ctx context.Context, batch []bus.OutboxRow, held *heldRows, again bool) {
	now := time.Now()
	rows := batch
	if len(held.rows) > 0 {
		if again {
			rows = append(held.release(), batch...)
		} else {
			rows = held.keepBehind(batch, now, r.cfg.MaxQueue)
		}
	}
	if len(rows) == 0 {
		return
	}
	done, left, refused, err := r.publishRows(ctx, rows, r.unavailablePartitions())
	r.acknowledgeRows(done)
	if err != nil && (ctx.Err() != nil || r.down.Load()) {
		held.clear()
		return
	}
	r.metrics.gaps.Add(float64(len(refused)))
	why := map[int64]bus.Status{} // the last refusal of each row
	for _, f := range refused {
		why[f.row] = f.outcome.Status
	}
	for i := range left {
		switch status := why[left[i].ID]; {
		case status == bus.Gap && held.keep(left[i], now, r.cfg.MaxQueue):
		case status == bus.Unwritable: // no haste will help; the sweep's tick has it
		case status == bus.Unknown: // its partition is away
			r.metrics.deferred.Inc()
			signal(r.urgent)
		default:
			signal(r.urgent)
		}
	}
	held.settle()
}

// redisFailed leaves everything to the sweep that follows Redis' return.
func (r *Relay) redisFailed(err error) {
	r.complain.Do(func() {
		r.cfg.Logger.Error("publishing fails; commits go on and the outbox grows until Redis is back", "error", err)
	})
	r.down.Store(true)
	r.mu.Lock()
	r.metrics.deferred.Add(float64(len(r.queue)))
	r.queue, r.weight = nil, 0
	r.mu.Unlock()
	signal(r.urgent)
}

// heldRows are rows whose predecessors Redis did not have, in order.
type heldRows struct {
	rows     []heldRow
	accounts map[string]int      // accounts of rows, and of how many
	since    map[int64]time.Time // of rows that were released, until settle
}

type heldRow struct {
	row   bus.OutboxRow
	since time.Time
}

// keep holds a row back. It says no to one that was held for too long, and when too many are.
func (h *heldRows) keep(row bus.OutboxRow, now time.Time, limit int) bool {
	since, ok := h.since[row.ID]
	if !ok {
		since = now
	}
	if now.Sub(since) >= holdFor || len(h.rows) >= limit {
		return false
	}
	h.rows = append(h.rows, heldRow{row: row, since: since})
	for i := range row.Updates {
		h.accounts[row.Updates[i].Account]++
	}
	return true
}

// keepBehind holds back those rows whose account has rows held already, and
// returns the others.
func (h *heldRows) keepBehind(batch []bus.OutboxRow, now time.Time, limit int) []bus.OutboxRow {
	var free []bus.OutboxRow
	for _, row := range batch {
		behind := false
		for i := range row.Updates {
			behind = behind || h.accounts[row.Updates[i].Account] > 0
		}
		if !behind || !h.keep(row, now, limit) {
			free = append(free, row)
		}
	}
	return free
}

// release returns the held rows for another attempt.
func (h *heldRows) release() []bus.OutboxRow {
	h.since = make(map[int64]time.Time, len(h.rows))
	rows := make([]bus.OutboxRow, len(h.rows))
	for i, held := range h.rows {
		rows[i] = held.row
		h.since[held.row.ID] = held.since
	}
	h.rows = h.rows[:0]
	clear(h.accounts)
	return rows
}

// settle ends an attempt.
func (h *heldRows) settle() { h.since = nil }

func (h *heldRows) clear() {
	h.release()
	h.settle()
}
