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
// testdata/write_statements.golden has all of its variants.
//
// The statement may run alone, without locks before it, because it aborts unless the database is
// as the batch believes. An inserted row that another process wrote first violates a unique
// index. An update leaves out an escrow that has ended and a wallet whose hash has changed; then
// the number of updated rows is wrong, and the statement divides by zero (abortUnless).
//
// Postgres runs the counted parts first, in their order, and the others after them. So the
// statement locks escrows and then wallets, as commitLocked does.
//
// Updates look each row up by its ctid behind LATERAL … OFFSET 0 (see store_postgres.go). If the
// row moves meanwhile, Postgres repeats the comparison with the row's new version.
//
// ON CONFLICT DO NOTHING is not used: it would look each key up before inserting it.

// writeShape tells which optional parts a batch's statement has. Each part costs time even when
// it has no rows, so a statement that runs alone has only the parts that its batch needs.
type writeShape struct {
	opensEscrows   bool
	opensExpiring  bool // some of the opened escrows expire
	closesEscrows  bool
	closesExpiring bool // some of the ended escrows would have expired
	changesWallets bool
	createsWallets bool
}

// fullShape has all parts. Its statement can store any batch.
var fullShape = writeShape{
	opensEscrows: true, opensExpiring: true, closesEscrows: true, closesExpiring: true, changesWallets: true, createsWallets: true,
}

// batchShape returns the smallest shape that can store the batch.
func batchShape(m *mutations) writeShape {
	shape := writeShape{opensEscrows: len(m.opened) > 0, closesEscrows: len(m.closed) > 0}
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

// writeStatement is the SQL of a shape and where its arguments come from.
type writeStatement struct {
	sql        string
	parameters []parameter // of $1, $2 and so on
}

// A parameter is the array of one column, or how many rows a rowSet has.
type parameter struct {
	rows   rowSet
	column int // place in rowSetSpecs, or rowCount
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

// insertOutboxRow adds the batch's one row, with all of its transactions.
func (b *statementBuilder) insertOutboxRow() {
	ids := b.arrayPlaceholder(transactionRows, "id")
	b.addPart("added_outbox", `INSERT INTO outbox (transactions) VALUES (`+ids+`) RETURNING id`)
}

// statementBuilder gathers the parts of a statement and numbers its parameters in the order in
// which they are first used.
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

// addCountedPart adds a part that must return a row for each row of the rowSet.
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
	return writeStatement{sql: sql, parameters: b.parameters}
}

// abortUnless is appended to the number that a statement returns. Unless all conditions hold, it
// divides the number by zero, which fails the whole statement with stateDivisionByZero. A
// statement cannot raise an error of its own without a function in the database.
func abortUnless(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " / (" + strings.Join(conditions, " AND ") + ")::int"
}

// unnest turns arrays into rows with these columns. It does so in a SELECT list. In FROM, as in
// unnest(a, b), Postgres would first copy each array's values into a store of its own; that and
// the memory for it, which each statement fetches anew, were a sixth of Postgres' work.
func (b *statementBuilder) unnestColumns(rows rowSet, columns ...string) string {
	expressions := make([]string, len(columns))
	for i, name := range columns {
		expressions[i] = "unnest(" + b.arrayPlaceholder(rows, name) + ") AS " + name
	}
	return "(SELECT " + strings.Join(expressions, ",\n\t\t") + ")"
}

// array returns the placeholder of a column's array, such as $3::int8[].
func (b *statementBuilder) arrayPlaceholder(rows rowSet, name string) string {
	place := slices.IndexFunc(rowSetSpecs[rows], func(spec columnSpec) bool { return spec.name == name })
	if place < 0 {
		panic(fmt.Sprintf("wallet: row set %d has no column %q", rows, name))
	}
	return b.placeholderFor(rows, place) + "::" + rowSetSpecs[rows][place].element.name + "[]"
}

func (b *statementBuilder) placeholderFor(rows rowSet, column int) string {
	p := parameter{rows, column}
	if b.numbers[p] == 0 {
		b.parameters = append(b.parameters, p)
		b.numbers[p] = len(b.parameters)
	}
	return fmt.Sprintf("$%d", b.numbers[p])
}

// assignments sets all columns but the one by which rows are found.
func joinAssignments(columns []string, key string) string {
	var sets []string
	for _, name := range columns {
		if name != key {
			sets = append(sets, name+" = u."+name)
		}
	}
	return strings.Join(sets, ", ")
}

// preparedWrites are prepared when a batch first needs them. The full shape is prepared when the
// store is opened.
type preparedWrites struct {
	mu      sync.Mutex
	byShape map[writeShape]*preparedWrite
}

type preparedWrite struct {
	*sqlx.Stmt
	parameters []parameter
}

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

	prepared = &preparedWrite{stmt, write.parameters}
	p.byShape[shape] = prepared
	return prepared, nil
}

func (t *postgresTx) writeBatch(ctx context.Context, m *mutations) ([]int64, error) {
	shape := batchShape(m)
	if t.tx != nil {
		// The transaction has a connection. Preparing another statement would need a second one,
		// which a full pool does not have.
		shape = fullShape
	}

	prepared, err := t.store.writes.prepareShape(ctx, t.store.db, shape)
	if err != nil {
		return nil, err
	}

	buffer := writeBuffers.Get().(*writeBuffer)
	defer buffer.release()
	buffer.encodeBatch(m)
	stmt := t.chooseStatement(ctx, prepared.Stmt, prepared.Stmt)
	var row int64
	err = stmt.QueryRowContext(ctx, buffer.bindArguments(prepared.parameters)...).Scan(&row)
	if isLostRace(err) {
		return nil, errConflict
	}
	if err != nil {
		return nil, err
	}

	return outboxIDs(row, len(m.transactions)), nil
}
