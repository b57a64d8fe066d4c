package wallet

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// On Postgres the outbox has one row for each batch, with the batch's transactions in order. One
// row for each transaction would be slower: writing and deleting the rows and their index entries
// took a tenth of Postgres' time.
//
// The relay does not know about batches. It gets one id for each transaction. The id contains the
// id of the row, the transaction's place in the row and the number of transactions in the row. A
// row is deleted when all of its transactions are published. Until then this process does not list
// the published ones again. Otherwise, if one account could not be published, every sweep would
// publish the other transactions of its row again.
const (
	outboxPlaceBits = 10 // for maxBatch transactions in a row
	outboxRowShift  = 2 * outboxPlaceBits
	outboxPlaceMask = 1<<outboxPlaceBits - 1
)

func outboxID(row int64, place, count int) int64 {
	return row<<outboxRowShift | int64(place)<<outboxPlaceBits | int64(count-1)
}

// outboxIDs returns the ids of a row with count transactions.
func outboxIDs(row int64, count int) []int64 {
	ids := make([]int64, count)
	for i := range ids {
		ids[i] = outboxID(row, i, count)
	}
	return ids
}

// splitOutboxID is the inverse of outboxID.
func splitOutboxID(id int64) (row int64, place, count int) {
	row = id >> outboxRowShift
	place = int(id >> outboxPlaceBits & outboxPlaceMask)
	count = int(id&outboxPlaceMask) + 1
	return row, place, count
}

// outboxBatchesSQL returns rows with id >= $1 until they have $2 transactions. transaction_id is
// set only in the rows of older cores, which wrote one row for each transaction.
const outboxBatchesSQL = `SELECT id, transactions FROM
		(SELECT id, transactions, sum(cardinality(transactions)) OVER (ORDER BY id) - cardinality(transactions) AS before FROM
			(SELECT id, COALESCE(transactions, ARRAY[transaction_id]) AS transactions FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2) o) b
		WHERE before < $2 ORDER BY id`

const transactionsByIDSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id = ANY($1::uuid[])`

func (s *postgresStore) listOutboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	rows := make([]outboxRow, 0, limit)
	more := true
	for more && len(rows) < limit {
		var err error
		rows, after, more, err = s.appendOutboxRows(ctx, rows, after, limit)
		if err != nil {
			return nil, err
		}
	}

	if len(rows) == 0 {
		return nil, nil
	}

	err := s.loadTransactions(ctx, rows)
	if err != nil {
		return nil, err
	}

	return rows, nil
}

// appendOutboxRows reads the outbox after an id. It appends the transactions that are not known to
// be published, until there are limit rows. The appended rows have only the ids of their
// transactions. It returns the last id that it read, and whether there may be more.
func (s *postgresStore) appendOutboxRows(
	ctx context.Context, rows []outboxRow, after int64, limit int,
) (_ []outboxRow, last int64, more bool, err error) {
	var batches []struct {
		ID           int64          `db:"id"`
		Transactions pq.StringArray `db:"transactions"`
	}

	firstRow, place, _ := splitOutboxID(after)
	readAgain := place + 1 // the transactions of the first row that are not after the id
	err = s.db.SelectContext(ctx, &batches, outboxBatchesSQL, firstRow, limit+readAgain)
	if err != nil {
		return nil, 0, false, err
	}

	read := 0
	for _, b := range batches {
		published := s.published.placesOf(b.ID)
		for place, text := range b.Transactions {
			last = outboxID(b.ID, place, len(b.Transactions))
			isListed := last > after && !published.has(place)
			if !isListed || len(rows) == limit {
				continue
			}

			id, err := uuid.Parse(text)
			if err != nil {
				return nil, 0, false, err
			}

			rows = append(rows, outboxRow{
				id: last,
				tx: Transaction{ID: id},
			})
		}

		read += len(b.Transactions)
	}

	more = read >= limit+readAgain
	return rows, last, more, nil
}

// loadTransactions completes the rows' transactions, of which only the ids are set.
func (s *postgresStore) loadTransactions(ctx context.Context, rows []outboxRow) error {
	ids := newPgArray(pgUUID)
	for i := range rows {
		ids.appendUUID(rows[i].tx.ID)
	}

	var stored []transactionRow
	err := s.db.SelectContext(ctx, &stored, transactionsByIDSQL, ids.encode())
	if err != nil {
		return err
	}

	found := make(map[uuid.UUID]Transaction, len(stored))
	for i := range stored {
		found[stored[i].ID] = stored[i].toTransaction()
	}

	for i := range rows {
		tx, ok := found[rows[i].tx.ID]
		if !ok {
			return fmt.Errorf("transaction %s is in the outbox but does not exist", rows[i].tx.ID)
		}

		rows[i].tx = tx
	}

	return nil
}

const deleteOutboxSQL = `DELETE FROM outbox WHERE id = ANY($1)`

func (s *postgresStore) deleteOutboxRows(ctx context.Context, ids []int64) error {
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

// publishedRows records the published transactions of each row until all of them are published. The
// record is lost after a restart, and it is cleared when it has too many rows. Then the relay's
// sweep publishes these transactions again, and Redis drops the duplicates.
type publishedRows struct {
	mu   sync.Mutex
	rows map[int64]*publishedRow
}

type publishedRow struct {
	places    publishedPlaces
	remaining int // number of places that are not published
}

// publishedPlaces is a bit set of the published places of a row.
type publishedPlaces [1 << outboxPlaceBits / 64]uint64

func (p *publishedPlaces) has(place int) bool { return p[place/64]&placeBit(place) != 0 }

func (p *publishedPlaces) set(place int) { p[place/64] |= placeBit(place) }

func placeBit(place int) uint64 { return 1 << (place % 64) }

// placesOf returns the places of a row that are known to be published.
func (p *publishedRows) placesOf(row int64) publishedPlaces {
	p.mu.Lock()
	defer p.mu.Unlock()

	progress := p.rows[row]
	if progress == nil {
		return publishedPlaces{}
	}

	return progress.places
}

// maxPublishedRows bounds the number of recorded rows. A row takes 150 bytes.
const maxPublishedRows = 1 << 14

// markPublished records that the transactions with these ids are published. It returns the rows of
// which all transactions are published.
func (p *publishedRows) markPublished(ids []int64) []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	var done []int64
	for _, id := range ids {
		row, place, count := splitOutboxID(id)
		isDone := len(done) > 0 && done[len(done)-1] == row
		if isDone {
			continue // ids contains the id twice
		}

		if p.markPlace(row, place, count) {
			done = append(done, row)
		}
	}

	return done
}

// markPlace records that one transaction of a row is published. It reports whether all of them are.
func (p *publishedRows) markPlace(row int64, place, count int) bool {
	if count == 1 {
		return true
	}

	progress := p.rows[row]
	if progress == nil {
		progress = p.addRow(row, count)
	}

	if !progress.places.has(place) {
		progress.places.set(place)
		progress.remaining--
	}

	if progress.remaining > 0 {
		return false
	}

	delete(p.rows, row)
	return true
}

func (p *publishedRows) addRow(row int64, count int) *publishedRow {
	if p.rows == nil || len(p.rows) >= maxPublishedRows {
		p.rows = make(map[int64]*publishedRow)
	}

	progress := &publishedRow{remaining: count}
	p.rows[row] = progress
	return progress
}
