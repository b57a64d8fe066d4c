package wallet

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// This file describes the rows that a batch writes to Postgres. It has the columns of each table,
// and the name, the type and the value of each column. The write statement
// (store_postgres_write.go) and its arguments (store_postgres_buffer.go) are generated from these
// descriptions.

// column describes one column. R is the Go type of a row. The statement receives all values of the
// column in one array.
type column[R any] struct {
	columnSpec
	appendRows func(a *pgArray, rows []R)
}

// columnSpec is the part of a column from which the statement is generated.
type columnSpec struct {
	name    string
	element pgType
}

func textColumn[R any](name string, value func(R) string) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendText(value(row))
		}
	}
	return column[R]{columnSpec{name, pgText}, appendRows}
}

func int8Column[R any](name string, value func(R) int64) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendInt8(value(row))
		}
	}
	return column[R]{columnSpec{name, pgInt8}, appendRows}
}

func int2Column[R any](name string, value func(R) int) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendInt2(value(row))
		}
	}
	return column[R]{columnSpec{name, pgInt2}, appendRows}
}

func uuidColumn[R any](name string, value func(R) uuid.UUID) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendUUID(value(row))
		}
	}
	return column[R]{columnSpec{name, pgUUID}, appendRows}
}

func byteaColumn[R any](name string, value func(R) []byte) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendBytes(value(row))
		}
	}
	return column[R]{columnSpec{name, pgBytea}, appendRows}
}

func timeColumn[R any](name string, value func(R) time.Time) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendTime(value(row))
		}
	}
	return column[R]{columnSpec{name, pgTimestamptz}, appendRows}
}

// nullableInt8Column returns a column that is NULL in the rows for which value returns false.
func nullableInt8Column[R any](name string, value func(R) (int64, bool)) column[R] {
	appendRows := func(a *pgArray, rows []R) {
		for _, row := range rows {
			n, ok := value(row)
			if ok {
				a.appendInt8(n)
			} else {
				a.appendNull()
			}
		}
	}
	return column[R]{columnSpec{name, pgInt8}, appendRows}
}

// transactionRecord is a transaction with its parties and its idempotency key in separate fields.
type transactionRecord struct {
	*Transaction
	user        *Party // nil if no user changed
	model       *Party // nil if no model changed
	key         string
	requestHash []byte
}

// partyColumn returns a column that is NULL in the rows without the party.
func partyColumn(name string, party func(*transactionRecord) *Party, value func(*Party) int64) column[*transactionRecord] {
	return nullableInt8Column(name, func(r *transactionRecord) (int64, bool) {
		p := party(r)
		if p == nil {
			return 0, false
		}

		return value(p), true
	})
}

// partyAccountColumn returns a column that is NULL in the rows without the party.
func partyAccountColumn(name string, party func(*transactionRecord) *Party) column[*transactionRecord] {
	return textColumn(name, func(r *transactionRecord) string {
		p := party(r)
		if p == nil {
			return ""
		}

		return string(p.Account)
	})
}

func userParty(r *transactionRecord) *Party { return r.user }

func modelParty(r *transactionRecord) *Party { return r.model }

// transactionTable has the columns of the table transactions.
var transactionTable = []column[*transactionRecord]{
	uuidColumn("id", func(r *transactionRecord) uuid.UUID { return r.ID }),
	textColumn("operation", func(r *transactionRecord) string { return string(r.Operation) }),
	int8Column("amount", func(r *transactionRecord) int64 { return r.Amount }),
	int8Column("refund_amount", func(r *transactionRecord) int64 { return r.RefundAmount }),
	int8Column("settle_amount", func(r *transactionRecord) int64 { return r.SettleAmount }),
	textColumn("reason", func(r *transactionRecord) string { return r.Reason }),
	uuidColumn("escrow_id", func(r *transactionRecord) uuid.UUID { return r.EscrowID }),
	textColumn("queue_item_id", func(r *transactionRecord) string { return r.QueueItemID }),
	textColumn("feature_type", func(r *transactionRecord) string { return r.FeatureType }),
	textColumn("correlation_id", func(r *transactionRecord) string { return r.CorrelationID }),
	textColumn("request_id", func(r *transactionRecord) string { return r.RequestID }),
	textColumn("metadata", func(r *transactionRecord) string { return string(r.Metadata) }),
	partyAccountColumn("user_account", userParty),
	partyColumn("user_seq", userParty, func(p *Party) int64 { return p.Seq }),
	partyColumn("user_available", userParty, func(p *Party) int64 { return p.Available }),
	partyColumn("user_escrow", userParty, func(p *Party) int64 { return p.Escrow }),
	partyAccountColumn("model_account", modelParty),
	partyColumn("model_seq", modelParty, func(p *Party) int64 { return p.Seq }),
	partyColumn("model_earned", modelParty, func(p *Party) int64 { return p.Earned }),
	timeColumn("created_at", func(r *transactionRecord) time.Time { return r.CreatedAt }),
	byteaColumn("chains", func(r *transactionRecord) []byte { return r.chains }),
}

// keyTable has the columns of the table idempotency_keys that are not in transactionTable. The
// other columns, operation, transaction_id and created_at, are those of the transaction.
var keyTable = []column[*transactionRecord]{
	textColumn("key", func(r *transactionRecord) string { return r.key }),
	byteaColumn("request_hash", func(r *transactionRecord) []byte { return r.requestHash }),
}

// entryTable has the columns of the table entries.
var entryTable = []column[*Entry]{
	textColumn("account", func(e *Entry) string { return string(e.Account) }),
	// The seq of a system account's entry is NULL.
	nullableInt8Column("seq", func(e *Entry) (int64, bool) { return e.Seq, e.State != StateSystem }),
	uuidColumn("transaction_id", func(e *Entry) uuid.UUID { return e.TransactionID }),
	int2Column("place", func(e *Entry) int { return e.Place }),
	textColumn("state", func(e *Entry) string { return string(e.State) }),
	int8Column("amount", func(e *Entry) int64 { return e.Amount }),
	int8Column("balance_before", func(e *Entry) int64 { return e.BalanceBefore }),
	int8Column("balance_after", func(e *Entry) int64 { return e.BalanceAfter }),
	byteaColumn("hash", func(e *Entry) []byte { return e.Hash }),
	timeColumn("created_at", func(e *Entry) time.Time { return e.CreatedAt }),
}

// walletTable has the columns of the table wallets.
var walletTable = []column[*wallet]{
	textColumn("account", func(w *wallet) string { return string(w.Account) }),
	int8Column("available", func(w *wallet) int64 { return w.Available }),
	int8Column("escrow", func(w *wallet) int64 { return w.Escrow }),
	int8Column("earned", func(w *wallet) int64 { return w.Earned }),
	int8Column("seq", func(w *wallet) int64 { return w.Seq }),
	byteaColumn("hash", func(w *wallet) []byte { return w.Hash }),
	timeColumn("updated_at", func(w *wallet) time.Time { return w.UpdatedAt }),
}

// walletGuard is the hash that the row of a changed wallet must still have. It is not a column of
// the table wallets.
var walletGuard = []column[*wallet]{
	byteaColumn("hash_before", func(w *wallet) []byte { return w.hashBefore }),
}

// openedEscrowTable has the columns of the table escrows that a hold writes.
var openedEscrowTable = []column[*Escrow]{
	uuidColumn("id", func(e *Escrow) uuid.UUID { return e.ID }),
	textColumn("user_account", func(e *Escrow) string { return string(e.User) }),
	int8Column("amount", func(e *Escrow) int64 { return e.Amount }),
	textColumn("status", func(e *Escrow) string { return string(e.Status) }),
	textColumn("reason", func(e *Escrow) string { return e.Reason }),
	textColumn("queue_item_id", func(e *Escrow) string { return e.QueueItemID }),
	textColumn("feature_type", func(e *Escrow) string { return e.FeatureType }),
	uuidColumn("held_by", func(e *Escrow) uuid.UUID { return e.HeldBy }),
	timeColumn("created_at", func(e *Escrow) time.Time { return e.CreatedAt }),
	timeColumn("expires_at", func(e *Escrow) time.Time { return e.ExpiresAt }),
}

// closedEscrowTable has the columns of the table escrows that change when an escrow is closed.
var closedEscrowTable = []column[*Escrow]{
	uuidColumn("id", func(e *Escrow) uuid.UUID { return e.ID }),
	textColumn("status", func(e *Escrow) string { return string(e.Status) }),
	uuidColumn("closed_by", func(e *Escrow) uuid.UUID { return e.ClosedBy }),
	timeColumn("closed_at", func(e *Escrow) time.Time { return e.ClosedAt }),
	textColumn("model_account", func(e *Escrow) string { return string(e.Model) }),
	int8Column("refund_amount", func(e *Escrow) int64 { return e.RefundAmount }),
	int8Column("settle_amount", func(e *Escrow) int64 { return e.SettleAmount }),
}

// closedExpiry is, together with the escrow's id, the key of the table escrow_expiries.
var closedExpiry = []column[*Escrow]{
	timeColumn("expires_at", func(e *Escrow) time.Time { return e.ExpiresAt }),
}

// rowSet identifies a group of rows that a batch writes. All rows of a group have the same columns.
type rowSet int

const (
	transactionRows rowSet = iota
	entryRows
	createdWalletRows
	changedWalletRows
	openedEscrowRows
	closedEscrowRows
	rowSetCount
)

// The columns of the rowSets that combine several of the lists above.
var (
	transactionRowColumns   = slices.Concat(transactionTable, keyTable)
	changedWalletRowColumns = slices.Concat(walletTable, walletGuard)
	closedEscrowRowColumns  = slices.Concat(closedEscrowTable, closedExpiry)
)

// rowSetSpecs has the columns of each rowSet.
var rowSetSpecs = [rowSetCount][]columnSpec{
	transactionRows:   columnSpecs(transactionRowColumns),
	entryRows:         columnSpecs(entryTable),
	createdWalletRows: columnSpecs(walletTable),
	changedWalletRows: columnSpecs(changedWalletRowColumns),
	openedEscrowRows:  columnSpecs(openedEscrowTable),
	closedEscrowRows:  columnSpecs(closedEscrowRowColumns),
}

func columnSpecs[R any](columns []column[R]) []columnSpec {
	specs := make([]columnSpec, len(columns))
	for i := range columns {
		specs[i] = columns[i].columnSpec
	}

	return specs
}

func columnNames[R any](columns []column[R]) []string {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].name
	}

	return names
}
