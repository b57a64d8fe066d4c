package wallet

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// insertOutboxRow adds the batch's outbox row, which has the ids of all its transactions.
func (b *statementBuilder) insertOutboxRow() {
	ids := b.arrayPlaceholder(transactionRows, "id")
	b.addPart("added_outbox", `INSERT INTO outbox (transactions) VALUES (`+ids+`) RETURNING id`)
}

// statementBuilder collects the parts of a statement. It numbers the parameters in the order of
// their first use.
type statementBuilder struct {
	parts      []string
	counted    []countedPart
	parameters []parameter
	numbers    map[parameter]int
}

type countedPart struct {
	name string
	rows rowSet
}

func (b *statementBuilder) addPart(name, sql string) {
	b.parts = append(b.parts, name+" AS ("+sql+")")
}

// addCountedPart adds a part that must return one row for each row of the rowSet.
func (b *statementBuilder) addCountedPart(name string, rows rowSet, sql string) {
	b.addPart(name, sql)
	b.counted = append(b.counted, countedPart{name, rows})
}

func (b *statementBuilder) insertRows(name, table string, rows rowSet, columns []string) {
	b.addPart(name, `INSERT INTO `+table+` (`+strings.Join(columns, ", ")+`)
	SELECT * FROM `+b.unnestColumns(rows, columns...)+` AS added`)
}

func (b *statementBuilder) buildStatement() writeStatement {
	conditions := make([]string, len(b.counted))
	for i, part := range b.counted {
		conditions[i] = "(SELECT count(*) FROM " + part.name + ") = " + b.placeholderFor(part.rows, rowCount)
	}

	sql := "WITH " + strings.Join(b.parts, ",\n") + "\nSELECT (SELECT id FROM added_outbox)" + abortUnless(conditions)
	return writeStatement{
		sql:        sql,
		parameters: b.parameters,
	}
}

// abortUnless returns SQL that follows the number that a statement returns. It divides the number
// by zero unless all conditions are true. Then the whole statement fails with stateDivisionByZero.
// SQL has no other way to raise an error without a function in the database.
func abortUnless(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}

	return " / (" + strings.Join(conditions, " AND ") + ")::int"
}

// unnestColumns returns a subquery that converts arrays into rows with these columns. It calls
// unnest in the SELECT list and not in FROM. In FROM, Postgres first copies the values of each
// array into a tuple store; the copies and their memory were a sixth of Postgres' work.
func (b *statementBuilder) unnestColumns(rows rowSet, columns ...string) string {
	expressions := make([]string, len(columns))
	for i, name := range columns {
		expressions[i] = "unnest(" + b.arrayPlaceholder(rows, name) + ") AS " + name
	}

	return "(SELECT " + strings.Join(expressions, ",\n\t\t") + ")"
}

// arrayPlaceholder returns the placeholder of a column's array, for example $3::int8[].
func (b *statementBuilder) arrayPlaceholder(rows rowSet, name string) string {
	specs := rowSetSpecs[rows]
	index := slices.IndexFunc(specs, func(spec columnSpec) bool {
		return spec.name == name
	})
	if index < 0 {
		panic(fmt.Sprintf("wallet: row set %d has no column %q", rows, name))
	}

	return b.placeholderFor(rows, index) + "::" + specs[index].element.name + "[]"
}

// placeholderFor returns the placeholder of a parameter. It numbers the parameter at its first use.
func (b *statementBuilder) placeholderFor(rows rowSet, column int) string {
	p := parameter{
		rows:   rows,
		column: column,
	}

	if b.numbers[p] == 0 {
		b.parameters = append(b.parameters, p)
		b.numbers[p] = len(b.parameters)
	}

	return fmt.Sprintf("$%d", b.numbers[p])
}

// joinAssignments returns the SET clause of an UPDATE for all columns but the key.
func joinAssignments(columns []string, key string) string {
	var assignments []string
	for _, name := range columns {
		if name != key {
			assignments = append(assignments, name+" = u."+name)
		}
	}

	return strings.Join(assignments, ", ")
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

	return outboxIDs(row, len(m.transactions)), nil
}
