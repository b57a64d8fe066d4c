package wallet

import (
	"encoding/json"
	"strconv"
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

// Op is a request for one ledger change. The comments say which operations need a field; for all
// others it must be zero. Check validates it.
type Op struct {
	Operation      Operation
	IdempotencyKey string // 1 to 255 visible ASCII characters, scoped per operation

	Account Account // credit, debit, hold: whose points change

	EscrowID uuid.UUID // settle, refund, partial_settle
	Model    Account   // settle, partial_settle: who earns

	Amount       int64 // all but partial_settle: whole points
	RefundAmount int64 // partial_settle: back to the user
	SettleAmount int64 // partial_settle: to the model

	Reason        string          // reason code, [a-z][a-z0-9_]{0,63}
	QueueItemID   string          // hold, settle, refund, partial_settle: 1 to 255 bytes
	FeatureType   string          // hold: 1 to 64 bytes
	ExpiresIn     time.Duration   // hold: when the core refunds it, in whole seconds; 0: never
	Metadata      json.RawMessage // optional, a JSON object of at most MaxMetadata bytes
	CorrelationID string          // optional, at most 255 bytes

	RequestID   string // optional, at most 255 bytes. A repeat may have another one.
	TraceParent string // W3C trace context; used if CorrelationID is empty. A repeat may have another one.
	Trace       string // W3C trace context that the events carry to the streams; not stored
}

// Receipt is the answer to an operation. A repeat gets the same one, with Replayed set.
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

// MarshalJSON returns what AppendJSON appends.
func (r Receipt) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// AppendJSON appends the receipt of the wire contract:
// {"transactionId","operation","escrowId"?,"amount","timestamp","balances":[…]}.
// It is the only writer of a receipt. It is written by hand, since reflection takes ten times as
// long and every operation is answered with a receipt.
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
