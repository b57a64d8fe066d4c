package relay

import (
	"time"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// gapQueue contains rows whose predecessors Redis did not have, in order.
type gapQueue struct {
	rows     []gapRow
	ledger   uint64              // generation of the source that the rows belong to
	accounts map[string]int      // number of queued updates by account
	since    map[int64]time.Time // gapRow.since of the rows being retried, by row id
}

type gapRow struct {
	row   bus.OutboxRow
	since time.Time // when the row was first added
}

// addRow adds a row. It returns false if the row was first added gapTimeout ago or earlier, or if
// the queue has limit rows.
func (q *gapQueue) addRow(row bus.OutboxRow, now time.Time, limit int) bool {
	since, ok := q.since[row.ID]
	if !ok {
		since = now
	}

	if now.Sub(since) >= gapTimeout || len(q.rows) >= limit {
		return false
	}

	q.rows = append(q.rows, gapRow{row: row, since: since})
	for i := range row.Updates {
		q.accounts[row.Updates[i].Account]++
	}

	return true
}

// addFollowers adds the rows of the batch whose account already has a row in the queue. It returns
// the other rows of the batch.
func (q *gapQueue) addFollowers(batch []bus.OutboxRow, now time.Time, limit int) []bus.OutboxRow {
	var others []bus.OutboxRow
	for _, row := range batch {
		follows := false
		for i := range row.Updates {
			follows = follows || q.accounts[row.Updates[i].Account] > 0
		}

		if !follows || !q.addRow(row, now, limit) {
			others = append(others, row)
		}
	}

	return others
}

// beginRetry removes all rows and returns them for another attempt. Rows that are added again
// before endRetry keep the time of their first addition.
func (q *gapQueue) beginRetry() []bus.OutboxRow {
	q.since = make(map[int64]time.Time, len(q.rows))
	rows := make([]bus.OutboxRow, len(q.rows))
	for i, queued := range q.rows {
		rows[i] = queued.row
		q.since[queued.row.ID] = queued.since
	}

	q.rows = q.rows[:0]
	clear(q.accounts)
	return rows
}

func (q *gapQueue) endRetry() {
	q.since = nil
}

// discardRows removes all rows.
func (q *gapQueue) discardRows() {
	q.beginRetry()
	q.endRetry()
}
