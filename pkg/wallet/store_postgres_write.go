package wallet

import (
	"context"
	"sync"

	"github.com/jmoiron/sqlx"
)

// This file generates the statement that stores a batch of any size in one round trip.
// testdata/write_statements.golden has all variants of the statement.
//
// The statement can run without previous locks, because it aborts unless the database is still as
// the batch has it. If another process inserted a row first, the insert violates a unique index. If
// another process closed an escrow or changed a wallet first, the update skips this row. Then the
// number of updated rows is wrong, and the statement divides by zero (see abortUnless).
//
// Postgres runs the counted parts first, in their order, and the other parts after them. So the
// statement locks escrows before wallets, as commitLocked does.
//
// An update finds each row by its ctid, in LATERAL … OFFSET 0 (see store_postgres.go). If another
// transaction updates the row at the same time, Postgres compares again with the new version.
//
// The statement does not use ON CONFLICT DO NOTHING, because Postgres would then look up each key
// before it inserts the key.

// writeShape has a flag for each optional part of a batch's statement. Each part takes time even
// without rows. So the statement of a batch that is not locked has only the parts that it needs.
type writeShape struct {
	opensEscrows   bool
	opensExpiring  bool // at least one opened escrow expires
	closesEscrows  bool
	closesExpiring bool // at least one closed escrow had an expiry
	changesWallets bool
	createsWallets bool
}

// fullShape has all parts. Its statement can store any batch.
var fullShape = writeShape{
	opensEscrows:   true,
	opensExpiring:  true,
	closesEscrows:  true,
	closesExpiring: true,
	changesWallets: true,
	createsWallets: true,
}

// batchShape returns the smallest shape that can store the batch.
func batchShape(m *mutations) writeShape {
	shape := writeShape{
		opensEscrows:  len(m.opened) > 0,
		closesEscrows: len(m.closed) > 0,
	}

	for _, e := range m.opened {
		if !e.ExpiresAt.IsZero() {
			shape.opensExpiring = true
		}
	}

	for _, e := range m.closed {
		if !e.ExpiresAt.IsZero() {
			shape.closesExpiring = true
		}
	}

	for _, w := range m.wallets {
		if w.created {
			shape.createsWallets = true
		} else {
			shape.changesWallets = true
		}
	}

	return shape
}

// writeStatement is the SQL of a shape with the descriptions of its parameters.
type writeStatement struct {
	sql        string
	parameters []parameter // $1, $2 and so on
}

// parameter describes one parameter: the array of a column, or the number of rows of a rowSet.
type parameter struct {
	rows   rowSet
	column int // index in rowSetSpecs, or rowCount
}

const rowCount = -1

// buildWriteStatement generates the statement for a shape.
func buildWriteStatement(shape writeShape) writeStatement {
	b := &statementBuilder{numbers: make(map[parameter]int)}
	b.insertRows("added_transactions", "transactions", transactionRows, columnNames(transactionTable))
	b.insertRows("added_entries", "entries", entryRows, columnNames(entryTable))
	if shape.opensEscrows {
		b.insertRows("opened_escrows", "escrows", openedEscrowRows, columnNames(openedEscrowTable))
	}

	if shape.opensExpiring {
		b.insertExpiries()
	}

	if shape.closesExpiring {
		b.deleteExpiries()
	}

	if shape.closesEscrows {
		b.updateEscrows()
	}

	if shape.changesWallets {
		b.updateWallets()
	}

	if shape.createsWallets {
		b.insertRows("created_wallets", "wallets", createdWalletRows, columnNames(walletTable))
	}

	b.insertKeys()
	b.insertJournalRow()
	b.insertOutboxRow()
	return b.buildStatement()
}

func (b *statementBuilder) insertExpiries() {
	rows := b.unnestColumns(openedEscrowRows, "expires_at", "id")
	b.addPart("added_expiries", `INSERT INTO escrow_expiries (expires_at, escrow_id)
	SELECT expires_at, id FROM `+rows+` AS opened WHERE expires_at IS NOT NULL`)
}

func (b *statementBuilder) deleteExpiries() {
	rows := b.unnestColumns(closedEscrowRows, "expires_at", "id")
	b.addPart("removed_expiries", `DELETE FROM escrow_expiries x USING `+rows+` AS u,
		LATERAL (SELECT ctid FROM escrow_expiries WHERE expires_at = u.expires_at AND escrow_id = u.id OFFSET 0) AS at
	WHERE x.ctid = at.ctid`)
}

func (b *statementBuilder) updateEscrows() {
	columns := columnNames(closedEscrowTable)
	rows := b.unnestColumns(closedEscrowRows, columns...)
	b.addCountedPart("ended_escrows", closedEscrowRows, `UPDATE escrows x SET `+joinAssignments(columns, "id")+`
	FROM `+rows+` AS u,
		LATERAL (SELECT ctid FROM escrows WHERE id = u.id OFFSET 0) AS at
	WHERE x.ctid = at.ctid AND x.status = 'held' RETURNING 1`)
}

func (b *statementBuilder) updateWallets() {
	columns := columnNames(walletTable)
	rows := b.unnestColumns(changedWalletRows, append(columns, "hash_before")...)
	b.addCountedPart("changed_wallets", changedWalletRows, `UPDATE wallets x SET `+joinAssignments(columns, "account")+`
	FROM `+rows+` AS u,
		LATERAL (SELECT ctid FROM wallets WHERE account = u.account OFFSET 0) AS at
	WHERE x.ctid = at.ctid AND x.hash = u.hash_before RETURNING 1`)
}

func (b *statementBuilder) insertKeys() {
	rows := b.unnestColumns(transactionRows, "operation", "key", "request_hash", "id", "created_at")
	b.addPart("added_keys", `INSERT INTO idempotency_keys (operation, key, request_hash, transaction_id, created_at)
	SELECT * FROM `+rows+` AS added ORDER BY operation, key`)
}

// insertJournalRow adds the batch to the journal. Its position is taken after the statement has locked
// the journal (see journalGaps).
func (b *statementBuilder) insertJournalRow() {
	ids := b.arrayPlaceholder(transactionRows, "id")
	b.addPart("added_journal", `INSERT INTO journal (transactions) VALUES (`+ids+`)`)
}

// insertOutboxRow adds the batch's outbox row, which has the ids of all its transactions.
func (b *statementBuilder) insertOutboxRow() {
	ids := b.arrayPlaceholder(transactionRows, "id")
	b.addPart("added_outbox", `INSERT INTO outbox (transactions) VALUES (`+ids+`) RETURNING id`)
}

// preparedWrites holds the prepared write statements. Each is prepared at its first use.
type preparedWrites struct {
	mu      sync.Mutex
	byShape map[writeShape]*preparedWrite
}

type preparedWrite struct {
	*sqlx.Stmt
	parameters []parameter
}

// prepareShape returns the prepared statement of a shape.
func (p *preparedWrites) prepareShape(ctx context.Context, db *sqlx.DB, shape writeShape) (*preparedWrite, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	prepared := p.byShape[shape]
	if prepared != nil {
		return prepared, nil
	}

	write := buildWriteStatement(shape)
	stmt, err := db.PreparexContext(ctx, write.sql)
	if err != nil {
		return nil, err
	}

	if p.byShape == nil {
		p.byShape = make(map[writeShape]*preparedWrite)
	}

	prepared = &preparedWrite{
		Stmt:       stmt,
		parameters: write.parameters,
	}
	p.byShape[shape] = prepared
	return prepared, nil
}

func (t *postgresTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
	shape := batchShape(m)
	if t.tx != nil {
		// The transaction uses one connection. Preparing another statement could need a second one,
		// and the pool may be exhausted.
		shape = fullShape
	}

	prepared, err := t.store.writes.prepareShape(ctx, t.store.db, shape)
	if err != nil {
		return nil, err
	}

	buffer := writeBuffers.Get().(*writeBuffer)
	defer buffer.release()
	buffer.encodeBatch(m)
	arguments := buffer.bindArguments(prepared.parameters)

	stmt := t.chooseStatement(ctx, prepared.Stmt, prepared.Stmt)
	var row int64
	err = stmt.QueryRowContext(ctx, arguments...).Scan(&row)
	if isLostRace(err) {
		return nil, errConflict
	}

	if err != nil {
		return nil, err
	}

	return outboxIDs(t.generation, row, len(m.transactions)), nil
}
