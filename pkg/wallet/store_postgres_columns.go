package wallet

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// This file describes the rows that a batch writes to Postgres: for each table its columns, and
// for each column its name, its type and where a row's value comes from. The statement
// (store_postgres_write.go) and its arguments (store_postgres_buffer.go) are generated from it.

// A column is one column of rows that are made from an R. The statement gets all of its values
// in one array.
type column[R any] struct {
	columnSpec
	appendRows func(a *pgArray, rows []R)
}

// columnSpec is the part of a column that the statement needs.
type columnSpec struct {
	name    string
	element pgType
}

func textColumn[R any](name string, value func(R) string) column[R] {
	return column[R]{columnSpec{name, pgText}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendText(value(row))
		}
	}}
}

func int8Column[R any](name string, value func(R) int64) column[R] {
	return column[R]{columnSpec{name, pgInt8}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendInt8(value(row))
		}
	}}
}

func int2Column[R any](name string, value func(R) int) column[R] {
	return column[R]{columnSpec{name, pgInt2}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendInt2(value(row))
		}
	}}
}

func uuidColumn[R any](name string, value func(R) uuid.UUID) column[R] {
	return column[R]{columnSpec{name, pgUUID}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendUUID(value(row))
		}
	}}
}

func byteaColumn[R any](name string, value func(R) []byte) column[R] {
	return column[R]{columnSpec{name, pgBytea}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendBytes(value(row))
		}
	}}
}

func timeColumn[R any](name string, value func(R) time.Time) column[R] {
	return column[R]{columnSpec{name, pgTimestamptz}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			a.appendTime(value(row))
		}
	}}
}

// nullableInt8Column is NULL in the rows for which value returns false.
func nullableInt8Column[R any](name string, value func(R) (int64, bool)) column[R] {
	return column[R]{columnSpec{name, pgInt8}, func(a *pgArray, rows []R) {
		for _, row := range rows {
			n, ok := value(row)
			if ok {
				a.appendInt8(n)
			} else {
				a.appendNull()
			}
		}
	}}
}

// transactionRecord is a transaction with its parties told apart and its idempotency key.
type transactionRecord struct {
	*Transaction
	user, model *Party // nil: the operation does not change one
	key         string
	requestHash []byte
}

// partyColumn is NULL in the rows that do not have the party.
func partyColumn(name string, party func(*transactionRecord) *Party, value func(*Party) int64) column[*transactionRecord] {
	return nullableInt8Column(name, func(r *transactionRecord) (int64, bool) {
		p := party(r)
		if p == nil {
			return 0, false
		}
		return value(p), true
	})
}

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

// transactionTable is the table transactions.
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
}

// keyTable is the table idempotency_keys, without the columns that it takes from the
// transaction: operation, transaction_id and created_at.
var keyTable = []column[*transactionRecord]{
	textColumn("key", func(r *transactionRecord) string { return r.key }),
	byteaColumn("request_hash", func(r *transactionRecord) []byte { return r.requestHash }),
}

// entryTable is the table entries.
var entryTable = []column[*Entry]{
	textColumn("account", func(e *Entry) string { return string(e.Account) }),
	// System accounts have no seq.
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

// walletTable is the table wallets.
var walletTable = []column[*wallet]{
	textColumn("account", func(w *wallet) string { return string(w.Account) }),
	int8Column("available", func(w *wallet) int64 { return w.Available }),
	int8Column("escrow", func(w *wallet) int64 { return w.Escrow }),
	int8Column("earned", func(w *wallet) int64 { return w.Earned }),
	int8Column("seq", func(w *wallet) int64 { return w.Seq }),
	byteaColumn("hash", func(w *wallet) []byte { return w.Hash }),
	timeColumn("updated_at", func(w *wallet) time.Time { return w.UpdatedAt }),
}

// walletGuard is no column of wallets. A changed wallet's row must still have this hash.
var walletGuard = []column[*wallet]{
	byteaColumn("hash_before", func(w *wallet) []byte { return w.hashBefore }),
}

// openedEscrowTable is the table escrows as a hold writes it.
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

// closedEscrowTable is the table escrows as its end changes it.
var closedEscrowTable = []column[*Escrow]{
	uuidColumn("id", func(e *Escrow) uuid.UUID { return e.ID }),
	textColumn("status", func(e *Escrow) string { return string(e.Status) }),
	uuidColumn("closed_by", func(e *Escrow) uuid.UUID { return e.ClosedBy }),
	timeColumn("closed_at", func(e *Escrow) time.Time { return e.ClosedAt }),
	textColumn("model_account", func(e *Escrow) string { return string(e.Model) }),
	int8Column("refund_amount", func(e *Escrow) int64 { return e.RefundAmount }),
	int8Column("settle_amount", func(e *Escrow) int64 { return e.SettleAmount }),
}

// closedExpiry finds an ended escrow in escrow_expiries, together with its id.
var closedExpiry = []column[*Escrow]{
	timeColumn("expires_at", func(e *Escrow) time.Time { return e.ExpiresAt }),
}

// A rowSet names the rows of one kind that a batch writes.
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

// The columns of each rowSet whose rows have more than one table's columns.
var (
	transactionRowColumns   = slices.Concat(transactionTable, keyTable)
	changedWalletRowColumns = slices.Concat(walletTable, walletGuard)
	closedEscrowRowColumns  = slices.Concat(closedEscrowTable, closedExpiry)
)

// rowSetSpecs are the columns of each rowSet.
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
