package wallet

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Operation is a kind of ledger change.
type Operation string

// The operations.
const (
	OpCredit        Operation = "credit"
	OpDebit         Operation = "debit"
	OpHold          Operation = "hold"
	OpSettle        Operation = "settle"
	OpRefund        Operation = "refund"
	OpPartialSettle Operation = "partial_settle"
)

// Op asks for one ledger change. Which fields an operation needs is said beside
// them; the others must be zero. Check tells what is wrong with one.
type Op struct {
	Operation      Operation
	IdempotencyKey string // 1 to 255 visible ASCII characters, scoped per operation

	Account Account // credit, debit, hold: whose points change

	EscrowID uuid.UUID // settle, refund, partial_settle
	Model    Account   // settle, partial_settle: who earns

	Amount       int64 // whole points; all but partial_settle
	RefundAmount int64 // partial_settle: back to the user
	SettleAmount int64 // partial_settle: to the model

	Reason        string        // reason code, [a-z][a-z0-9_]{0,63}
	QueueItemID   string        // hold, settle, refund, partial_settle: 1 to 255 characters
	FeatureType   string        // hold: 1 to 64 characters
	ExpiresIn     time.Duration // hold: when the core refunds by itself; 0: never; whole seconds
	Metadata      json.RawMessage
	CorrelationID string // optional, at most 255 characters
	RequestID     string // optional, at most 255 characters; not part of what a repeat must equal
	TraceParent   string // W3C trace context; stands in for an absent CorrelationID, not part of what a repeat must equal
	Trace         string // W3C trace context that goes with the events to the streams; not stored
}

// Receipt is the answer to an operation. A repeat gets the same one, with
// Replayed set.
type Receipt struct {
	TransactionID uuid.UUID
	Operation     Operation
	EscrowID      uuid.UUID // zero: the operation has none
	Amount        int64
	Timestamp     time.Time
	Balances      []Balance // of every account that changed, after it: the user's first
	Replayed      bool      // the key was used before; nothing was done again. Not in the JSON.
}

// Balance is an account's state. Its JSON is the contract's.
type Balance = bus.Balance

// MarshalJSON gives the receipt of the wire contract:
// {"transactionId","operation","escrowId"?,"amount","timestamp","balances":[…]}.
func (r Receipt) MarshalJSON() ([]byte, error) {
	w := struct {
		TransactionID uuid.UUID  `json:"transactionId"`
		Operation     Operation  `json:"operation"`
		EscrowID      *uuid.UUID `json:"escrowId,omitempty"`
		Amount        int64      `json:"amount"`
		Timestamp     string     `json:"timestamp"`
		Balances      []Balance  `json:"balances"`
	}{r.TransactionID, r.Operation, nil, r.Amount, r.Timestamp.UTC().Format(bus.TimeFormat), r.Balances}
	if r.EscrowID != uuid.Nil {
		w.EscrowID = &r.EscrowID
	}
	return json.Marshal(w)
}
