package wallet

import "sync"

// writeBuffer holds the arguments of the write statement: one array for each column. A batch can
// fill several hundred kilobytes, so buffers are reused. This is safe because the driver copies the
// arguments before it returns.
type writeBuffer struct {
	rows      batchRows
	arrays    [rowSetCount][]pgArray
	rowCounts [rowSetCount]int
	arguments []any
}

// batchRows holds the rows of a batch, grouped by rowSet.
type batchRows struct {
	records      []transactionRecord // transactions points to them
	transactions []*transactionRecord
	entries      []*Entry
	created      []*wallet
	changed      []*wallet
}

var writeBuffers = sync.Pool{New: func() any { return newWriteBuffer() }}

func newWriteBuffer() *writeBuffer {
	b := &writeBuffer{}
	for rows, specs := range rowSetSpecs {
		for _, spec := range specs {
			b.arrays[rows] = append(b.arrays[rows], newPgArray(spec.element))
		}
	}

	return b
}

// release clears the buffer and returns it to the pool.
func (b *writeBuffer) release() {
	for _, arrays := range b.arrays {
		for i := range arrays {
			arrays[i].reset()
		}
	}

	clear(b.rowCounts[:])
	clear(b.arguments)
	b.rows.reset()
	writeBuffers.Put(b)
}

// encodeBatch fills the arrays with the batch's rows.
func (b *writeBuffer) encodeBatch(m *mutations) {
	b.rows.addBatch(m)
	encodeRows(b, transactionRows, transactionRowColumns, b.rows.transactions)
	encodeRows(b, entryRows, entryTable, b.rows.entries)
	encodeRows(b, createdWalletRows, walletTable, b.rows.created)
	encodeRows(b, changedWalletRows, changedWalletRowColumns, b.rows.changed)
	encodeRows(b, openedEscrowRows, openedEscrowTable, m.opened)
	encodeRows(b, closedEscrowRows, closedEscrowRowColumns, m.closed)
}

func encodeRows[R any](b *writeBuffer, set rowSet, columns []column[R], rows []R) {
	b.rowCounts[set] = len(rows)
	arrays := b.arrays[set]
	for i := range columns {
		columns[i].appendRows(&arrays[i], rows)
	}
}

// bindArguments returns the arguments of a statement's parameters. They are valid until release.
func (b *writeBuffer) bindArguments(parameters []parameter) []any {
	b.arguments = b.arguments[:0]
	for _, p := range parameters {
		if p.column == rowCount {
			b.arguments = append(b.arguments, b.rowCounts[p.rows])
			continue
		}

		array := &b.arrays[p.rows][p.column]
		b.arguments = append(b.arguments, array.encode())
	}

	return b.arguments
}

func (r *batchRows) addBatch(m *mutations) {
	for i := range m.transactions {
		tx := &m.transactions[i]
		user, model := tx.splitParties()
		r.records = append(r.records, transactionRecord{
			Transaction: tx,
			user:        user,
			model:       model,
			key:         m.keys[i].Key,
			requestHash: m.hashes[i][:],
		})

		for j := range tx.Entries {
			r.entries = append(r.entries, &tx.Entries[j])
		}
	}

	for i := range r.records {
		r.transactions = append(r.transactions, &r.records[i])
	}

	for _, w := range m.wallets {
		if w.created {
			r.created = append(r.created, w)
		} else {
			r.changed = append(r.changed, w)
		}
	}
}

// reset removes the rows of the batch and keeps the memory.
func (r *batchRows) reset() {
	r.records = emptySlice(r.records)
	r.transactions = emptySlice(r.transactions)
	r.entries = emptySlice(r.entries)
	r.created = emptySlice(r.created)
	r.changed = emptySlice(r.changed)
}

func emptySlice[T any](s []T) []T {
	clear(s)
	return s[:0]
}
