package wallet

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// The outbox has a row for each batch, with its transactions in order: a row
// and an index entry for each of them, written and soon deleted, were a tenth of
// Postgres' work. The relay knows nothing of batches. It gets an id for each
// transaction, made of the row's id, the place in the row, and how many
// stand there; a row goes when all its ids are published. Until then this process
// does not hand out those again that are: one account that cannot be written would have its
// neighbours sent to Redis with every sweep.
const (
	outboxPlaceBits = 10 // maxBatch transactions in a row
	outboxRowShift  = 2 * outboxPlaceBits
	outboxPlaceMask = 1<<outboxPlaceBits - 1
)

func outboxID(row int64, place, count int) int64 {
	return row<<outboxRowShift | int64(place)<<outboxPlaceBits | int64(count-1)
}

func outboxIDs(row int64, count int) []int64 {
	ids := make([]int64, count)
	for i := range ids {
		ids[i] = outboxID(row, i, count)
	}
	return ids
}

// outboxBatchesSQL reads rows from one on, until they hold a number of transactions.
// (transaction_id: a row of an older core, that knew no batches.)
const outboxBatchesSQL = `SELECT id, transactions FROM
		(SELECT id, transactions, sum(cardinality(transactions)) OVER (ORDER BY id) - cardinality(transactions) AS before FROM
			(SELECT id, COALESCE(transactions, ARRAY[transaction_id]) AS transactions FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2) o) b
		WHERE before < $2 ORDER BY id`

const transactionsByIDSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id = ANY($1::uuid[])`

func (s *postgresStore) listOutbox(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	out := make([]outboxRow, 0, limit)
	for more := true; more && len(out) < limit; {
		var err error
		if out, after, more, err = s.appendOutbox(ctx, out, after, limit); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	ids := newPgArray(pgUUID)
	for i := range out {
		ids.appendUUID(out[i].tx.ID)
	}
	var rows []transactionRow
	if err := s.db.SelectContext(ctx, &rows, transactionsByIDSQL, ids.encode()); err != nil {
		return nil, err
	}
	found := make(map[uuid.UUID]Transaction, len(rows))
	for i := range rows {
		found[rows[i].ID] = rows[i].toTransaction()
	}
	for i := range out {
		tx, ok := found[out[i].tx.ID]
		if !ok {
			return nil, fmt.Errorf("the outbox names transaction %s, which does not exist", out[i].tx.ID)
		}
		out[i].tx = tx
	}
	return out, nil
}

// appendOutbox reads on behind an id, and appends what is not known to be published until
// out has limit rows. It tells where it came to, and whether there may be more.
func (s *postgresStore) appendOutbox(ctx context.Context, out []outboxRow, after int64, limit int) (_ []outboxRow, last int64, more bool, err error) {
	var batches []struct {
		ID           int64          `db:"id"`
		Transactions pq.StringArray `db:"transactions"`
	}
	behind := int(after>>outboxPlaceBits&outboxPlaceMask) + 1 // in after's row: read again, left out
	if err := s.db.SelectContext(ctx, &batches, outboxBatchesSQL, after>>outboxRowShift, limit+behind); err != nil {
		return nil, 0, false, err
	}
	read := 0
	for _, b := range batches {
		published := s.published.of(b.ID)
		for place, text := range b.Transactions {
			last = outboxID(b.ID, place, len(b.Transactions))
			if last <= after || len(out) == limit || published.has(place) {
				continue
			}
			tx, err := uuid.Parse(text)
			if err != nil {
				return nil, 0, false, err
			}
			out = append(out, outboxRow{id: last, tx: Transaction{ID: tx}})
		}
		read += len(b.Transactions)
	}
	return out, last, read >= limit+behind, nil
}

const deleteOutboxSQL = `DELETE FROM outbox WHERE id = ANY($1)`

func (s *postgresStore) deleteOutbox(ctx context.Context, ids []int64) error {
	rows := s.published.markPublished(ids)
	if len(rows) == 0 {
		return nil
	}
	_, err := s.db.ExecContext(ctx, deleteOutboxSQL, pq.Int64Array(rows))
	return err
}

func (s *postgresStore) measureBacklog(ctx context.Context) (int64, uuid.UUID, error) {
	var r struct {
		Transactions int64         `db:"n"`
		Oldest       uuid.NullUUID `db:"oldest"`
	}
	err := s.db.GetContext(ctx, &r, `SELECT
		(SELECT COALESCE(sum(COALESCE(cardinality(transactions), 1)), 0) FROM outbox) AS n,
		(SELECT COALESCE(transactions[1], transaction_id) FROM outbox ORDER BY id LIMIT 1) AS oldest`)
	return r.Transactions, r.Oldest.UUID, err
}

// publishedRows remembers which transactions of a row are published, until all are.
// What it forgets, at a restart or because it is too much, is published once
// more by the relay's sweep, and Redis drops the duplicates.
type publishedRows struct {
	mu   sync.Mutex
	rows map[int64]*outboxProgress
}

type outboxProgress struct {
	places outboxPlaces
	left   int
}

// outboxPlaces are the places of a row that are published, a bit each.
type outboxPlaces [1 << outboxPlaceBits / 64]uint64

func (p *outboxPlaces) has(place int) bool { return p[place/64]&(1<<(place%64)) != 0 }

// of tells which places of a row are known to be published.
func (o *publishedRows) of(row int64) (places outboxPlaces) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.rows[row]; p != nil {
		places = p.places
	}
	return places
}

// maxPartlyPublished bounds the rows that are remembered, 150 bytes each.
const maxPartlyPublished = 1 << 14

// markPublished notes that ids are published and returns the rows that are done.
func (o *publishedRows) markPublished(ids []int64) []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var done []int64
	for _, id := range ids {
		row, place, count := id>>outboxRowShift, id>>outboxPlaceBits&outboxPlaceMask, int(id&outboxPlaceMask)+1
		p := o.rows[row]
		if p == nil {
			if len(done) > 0 && done[len(done)-1] == row {
				continue
			}
			if count == 1 {
				done = append(done, row)
				continue
			}
			if o.rows == nil || len(o.rows) >= maxPartlyPublished {
				o.rows = make(map[int64]*outboxProgress)
			}
			p = &outboxProgress{left: count}
			o.rows[row] = p
		}
		if bit := uint64(1) << (place % 64); p.places[place/64]&bit == 0 {
			p.places[place/64] |= bit
			p.left--
		}
		if p.left == 0 {
			delete(o.rows, row)
			done = append(done, row)
		}
	}
	return done
}
