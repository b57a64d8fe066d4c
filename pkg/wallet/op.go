package wallet

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// Operation is the type of a ledger change.
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

// Op is a request for one ledger change. The comments name the operations that need a field. In all
// other operations the field must be zero. Validate checks an Op.
type Op struct {
	Operation      Operation
	IdempotencyKey string // 1 to 255 visible ASCII characters; its scope is the operation

	Account Account // credit, debit, hold: the account that changes

	EscrowID uuid.UUID // settle, refund, partial_settle
	Model    Account   // settle, partial_settle: the account that earns, model:<id>

	Amount       int64 // all operations but partial_settle: whole points
	RefundAmount int64 // partial_settle: points that return to the user
	SettleAmount int64 // partial_settle: points that the model earns

	Reason        string          // reason code, [a-z][a-z0-9_]{0,63}
	QueueItemID   string          // hold, settle, refund, partial_settle: 1 to 255 bytes
	FeatureType   string          // hold: 1 to 64 bytes
	ExpiresIn     time.Duration   // hold: time until the refund, in whole seconds. 0 means never.
	Metadata      json.RawMessage // optional, a JSON object of at most MaxMetadata bytes and MaxMetadataNesting levels
	CorrelationID string          // optional, at most 255 bytes

	// RequestID is optional and has at most 255 bytes. A retry may have another request id.
	RequestID string

	// TraceParent is a W3C trace context. It is stored as the correlation id if CorrelationID is
	// empty. A retry may have another trace context.
	TraceParent string

	// Trace is the W3C trace context that the events carry to the streams. It is not stored.
	Trace string
}

// Receipt is the result of an operation. A retry returns the same receipt with Replayed set.
type Receipt struct {
	TransactionID uuid.UUID
	Operation     Operation
	EscrowID      uuid.UUID // zero if the operation has no escrow
	Amount        int64
	Timestamp     time.Time
	Balances      []Balance // of each changed account after the operation, the user's first

	// Replayed reports that the idempotency key was used before and that nothing was done now. It
	// is not in the JSON.
	Replayed bool
}

// Balance is an account's state. Its JSON is part of the wire contract.
type Balance = bus.Balance

// MarshalJSON implements json.Marshaler. It returns the JSON that AppendJSON appends.
func (r Receipt) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// AppendJSON appends the receipt as the wire contract defines it:
// {"transactionId","operation","escrowId"?,"amount","timestamp","balances":[…]}.
//
// No other code writes a receipt. AppendJSON does not use reflection, because reflection takes ten
// times as long and each operation returns a receipt.
func (r *Receipt) AppendJSON(b []byte) []byte {
	b = append(b, `{"transactionId":"`...)
	b = appendUUID(b, r.TransactionID)
	b = append(b, `","operation":"`...)
	b = append(b, r.Operation...)
	if r.EscrowID != uuid.Nil {
		b = append(b, `","escrowId":"`...)
		b = appendUUID(b, r.EscrowID)
	}

	b = append(b, `","amount":`...)
	b = strconv.AppendInt(b, r.Amount, 10)
	b = append(b, `,"timestamp":"`...)
	b = r.Timestamp.UTC().AppendFormat(b, bus.TimeFormat)
	b = append(b, `","balances":[`...)
	for i := range r.Balances {
		if i > 0 {
			b = append(b, ',')
		}

		b = r.Balances[i].AppendJSON(b)
	}

	return append(b, `]}`...)
}

func appendUUID(b []byte, id uuid.UUID) []byte {
	text, _ := id.MarshalText() // never fails
	return append(b, text...)
}
