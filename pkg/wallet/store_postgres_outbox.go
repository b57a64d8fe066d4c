package wallet

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/redroomrewards/realtime/pkg/wallet/internal/pgconn"
)

// On Postgres the outbox has one row for each batch, with the batch's transactions in order. One
// row for each transaction would be slower: writing and deleting the rows and their index entries
// took a tenth of Postgres' time.
//
// The relay does not know about batches. It gets one id for each transaction (see outboxPlace). A
// row is deleted when all of its transactions are published. Until then this process does not list
// the published ones again. Otherwise, if one account could not be published, every sweep would
// publish the other transactions of its row again.

// outboxPlace is the place of a transaction in the outbox. In the order of the fields it is packed
// into the id by which the relay knows the transaction.
//
// The number of a row means another row after the store has reached another database. So the id
// also has the store's generation at the time of the row's write or read. It has only the last bits
// of it, because the ids of earlier generations are soon forgotten.
type outboxPlace struct {
	generation uint64 // modulo 2^outboxGenerationBits
	row        int64
	place      int // of the transaction in the row
	count      int // of transactions in the row
}

// The bits of an id. Together they are 63.
const (
	outboxGenerationBits = 4
	outboxRowBits        = 39 // 1000 batches a second for 17 years
	outboxPlaceBits      = 10 // for maxBatch transactions in a row; also the bits of count

	outboxRowShift        = 2 * outboxPlaceBits
	outboxGenerationShift = outboxRowShift + outboxRowBits
)

func (p outboxPlace) toID() int64 {
	generation := int64(p.generation) & lowBits(outboxGenerationBits) //nolint:gosec // only low bits
	return generation<<outboxGenerationShift | p.row<<outboxRowShift | int64(p.place)<<outboxPlaceBits | int64(p.count-1)
}

// splitOutboxID is the inverse of toID.
func splitOutboxID(id int64) outboxPlace {
	return outboxPlace{
		generation: uint64(id >> outboxGenerationShift), //nolint:gosec // ids are positive
		row:        id >> outboxRowShift & lowBits(outboxRowBits),
		place:      int(id >> outboxPlaceBits & lowBits(outboxPlaceBits)),
		count:      int(id&lowBits(outboxPlaceBits)) + 1,
	}
}

func lowBits(n int) int64 { return 1<<n - 1 }

// isOf reports whether the place is of the store's generation.
func (p outboxPlace) isOf(generation uint64) bool {
	return p.generation == generation&uint64(lowBits(outboxGenerationBits)) //nolint:gosec // positive
}

// outboxIDs returns the ids of a row with count transactions.
func outboxIDs(generation uint64, row int64, count int) []int64 {
	ids := make([]int64, count)
	for i := range ids {
		p := outboxPlace{
			generation: generation,
			row:        row,
			place:      i,
			count:      count,
		}
		ids[i] = p.toID()
	}

	return ids
}

// outboxBatchesSQL returns rows with id >= $1 until they have $2 transactions. transaction_id is
// set only in the rows of older cores, which wrote one row for each transaction.
const outboxBatchesSQL = `SELECT id, transactions FROM
		(SELECT id, transactions, sum(cardinality(transactions)) OVER (ORDER BY id) - cardinality(transactions) AS before FROM
			(SELECT id, COALESCE(transactions, ARRAY[transaction_id]) AS transactions FROM outbox WHERE id >= $1 ORDER BY id LIMIT $2) o) b
		WHERE before < $2 ORDER BY id`

const transactionsByIDSQL = `SELECT ` + transactionColumns + ` FROM transactions t WHERE t.id = ANY($1::uuid[])`

func (s *postgresStore) listOutboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	generation := s.generation()
	if !splitOutboxID(after).isOf(generation) {
		after = 0
	}

	rows := make([]outboxRow, 0, limit)
	more := true
	for more && len(rows) < limit {
		var err error
		rows, after, more, err = s.appendOutboxRows(ctx, rows, generation, after, limit)
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
// transactions. after is 0 or an id of the generation. It returns the last id that it read, and
// whether there may be more.
func (s *postgresStore) appendOutboxRows(
	ctx context.Context, rows []outboxRow, generation uint64, after int64, limit int,
) (_ []outboxRow, last int64, more bool, err error) {
	var batches []struct {
		ID           int64          `db:"id"`
		Transactions pq.StringArray `db:"transactions"`
	}

	first := splitOutboxID(after)
	readAgain := first.place + 1 // the transactions of the first row that are not after the id
	err = s.db.SelectContext(ctx, &batches, outboxBatchesSQL, first.row, limit+readAgain)
	if err != nil {
		return nil, 0, false, err
	}

	read := 0
	for _, b := range batches {
		published := s.published.placesOf(generation, b.ID)
		ids := outboxIDs(generation, b.ID, len(b.Transactions))
		for place, text := range b.Transactions {
			last = ids[place]
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

// withoutStandby is a condition that is true and makes the transaction not wait for a synchronous
// standby. A failover may undo such a deletion; then it is done again.
const withoutStandby = `(SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'off' ELSE 'local' END, true)) <> ''`

// deleteOutboxSQL does nothing in another database than the one with the identity $2.
const deleteOutboxSQL = `DELETE FROM outbox WHERE id = ANY($1) AND (SELECT ` + pgconn.IdentityExpression + `) = $2 AND ` + withoutStandby

// deleteOutboxRows ignores the ids of earlier generations.
func (s *postgresStore) deleteOutboxRows(ctx context.Context, ids []int64) error {
	generation, identity := s.server.Current()
	rows := s.published.markPublished(generation, ids)
	if len(rows) == 0 {
		return nil
	}

	_, err := s.db.ExecContext(ctx, deleteOutboxSQL, pq.Int64Array(rows), identity)
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
// record is lost after a restart, and it is cleared when it has too many rows or when the store
// reaches another database. Then the relay's sweep publishes these transactions again, and Redis
// drops the duplicates.
type publishedRows struct {
	mu         sync.Mutex
	generation uint64 // of the rows
	rows       map[int64]*publishedRow
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
func (p *publishedRows) placesOf(generation uint64, row int64) publishedPlaces {
	p.mu.Lock()
	defer p.mu.Unlock()

	progress := p.rows[row]
	if progress == nil || generation != p.generation {
		return publishedPlaces{}
	}

	return progress.places
}

// maxPublishedRows bounds the number of recorded rows. A row takes 150 bytes.
const maxPublishedRows = 1 << 14

// markPublished records that the transactions with these ids are published. It returns the rows of
// which all transactions are published. It ignores the ids of other generations.
func (p *publishedRows) markPublished(generation uint64, ids []int64) []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	if generation != p.generation {
		p.generation = generation
		p.rows = nil
	}

	var done []int64
	for _, id := range ids {
		place := splitOutboxID(id)
		isDone := len(done) > 0 && done[len(done)-1] == place.row
		if isDone || !place.isOf(generation) {
			continue // ids contains the id twice, or the row is not in this database
		}

		if p.markPlace(place) {
			done = append(done, place.row)
		}
	}

	return done
}

// markPlace records that one transaction of a row is published. It reports whether all of them are.
func (p *publishedRows) markPlace(place outboxPlace) bool {
	if place.count == 1 {
		return true
	}

	progress := p.rows[place.row]
	if progress == nil {
		progress = p.addRow(place.row, place.count)
	}

	if !progress.places.has(place.place) {
		progress.places.set(place.place)
		progress.remaining--
	}

	if progress.remaining > 0 {
		return false
	}

	delete(p.rows, place.row)
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
