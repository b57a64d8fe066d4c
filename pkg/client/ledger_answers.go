package client

import (
	"encoding/json"
	"time"
)

// Receipt is the answer to an operation that was done.
type Receipt struct {
	TransactionID string    `json:"transactionId"`
	Operation     string    `json:"operation"`          // such as OperationHold
	EscrowID      string    `json:"escrowId,omitempty"` // empty for credits and debits
	Amount        int64     `json:"amount"`             // of a partial settlement: the escrow's amount
	Timestamp     time.Time `json:"timestamp"`
	Balances      []Balance `json:"balances"` // of each changed account, after the operation; the user comes first

	// Replayed reports that the idempotency key was used before: by an earlier attempt of this call
	// whose answer was lost, or by an earlier call. The receipt is the first one.
	Replayed bool `json:"-"`
}

// BalanceOf returns the balance of an account after the operation. ok is false if the operation did
// not change the account.
func (r *Receipt) BalanceOf(account string) (b Balance, ok bool) {
	for _, b := range r.Balances {
		if b.Account == account {
			return b, true
		}
	}
	return Balance{}, false
}

// Entry is an entry of the ledger: one change of one balance.
type Entry struct {
	EntryID       string          `json:"entryId"`
	TransactionID string          `json:"transactionId"`
	Account       string          `json:"account"`      // in a transaction also a system account, such as system:issuance
	AccountID     string          `json:"accountId"`    // the bare id
	AccountType   string          `json:"accountType"`  // user, model or system
	BalanceState  string          `json:"balanceState"` // available, escrow, earned or system
	Amount        int64           `json:"amount"`       // signed
	BalanceBefore int64           `json:"balanceBefore"`
	BalanceAfter  int64           `json:"balanceAfter"`
	Seq           int64           `json:"seq"` // of the entry's wallet.balance_updated event; 0 for a system account
	Operation     string          `json:"operation"`
	Reason        string          `json:"reason"`
	EscrowID      string          `json:"escrowId,omitempty"`
	QueueItemID   string          `json:"queueItemId,omitempty"`
	FeatureType   string          `json:"featureType,omitempty"`
	CorrelationID string          `json:"correlationId,omitempty"`
	RequestID     string          `json:"requestId,omitempty"`
	Metadata      json.RawMessage `json:"metadata,omitempty"` // nil if the operation had none
	Hash          string          `json:"hash"`               // SHA-256 in hexadecimal; the hashes of an account form a chain
	Timestamp     time.Time       `json:"timestamp"`
}

// The statuses of an escrow.
const (
	StatusHeld             = "held"
	StatusSettled          = "settled"
	StatusRefunded         = "refunded"
	StatusPartiallySettled = "partially_settled"
)

// Escrow is an amount of a user's points that was held.
type Escrow struct {
	EscrowID           string    `json:"escrowId"`
	UserID             string    `json:"userId"` // the bare id
	Amount             int64     `json:"amount"`
	Status             string    `json:"status"` // such as StatusHeld
	Reason             string    `json:"reason"` // of the hold
	QueueItemID        string    `json:"queueItemId"`
	FeatureType        string    `json:"featureType"`
	CreatedAt          time.Time `json:"createdAt"`
	ExpiresAt          time.Time `json:"expiresAt,omitzero"`     // zero: never
	ClosedAt           time.Time `json:"closedAt,omitzero"`      // zero: it is held
	ModelID            string    `json:"modelId,omitempty"`      // the bare id of the model that earned the points
	RefundAmount       int64     `json:"refundAmount,omitempty"` // returned to the user
	SettleAmount       int64     `json:"settleAmount,omitempty"` // earned by the model
	HoldTransactionID  string    `json:"holdTransactionId"`
	CloseTransactionID string    `json:"closeTransactionId,omitempty"`
}

// Transaction is an operation that was done, with all of its entries. Their amounts sum to zero.
type Transaction struct {
	TransactionID string          `json:"transactionId"`
	Operation     string          `json:"operation"`
	Amount        int64           `json:"amount"`
	RefundAmount  int64           `json:"refundAmount,omitempty"` // of a partial settlement
	SettleAmount  int64           `json:"settleAmount,omitempty"` // of a partial settlement
	Reason        string          `json:"reason"`
	EscrowID      string          `json:"escrowId,omitempty"`
	QueueItemID   string          `json:"queueItemId,omitempty"`
	FeatureType   string          `json:"featureType,omitempty"`
	CorrelationID string          `json:"correlationId,omitempty"`
	RequestID     string          `json:"requestId,omitempty"`
	Metadata      json.RawMessage `json:"metadata,omitempty"` // nil if the operation had none
	Timestamp     time.Time       `json:"timestamp"`
	Entries       []Entry         `json:"entries"`
}

// LedgerEvent is an event as the ledger keeps it for an account.
type LedgerEvent struct {
	Account string          `json:"account"`
	Seq     int64           `json:"seq"`   // 1, 2, 3 and so on, without a gap
	Chain   string          `json:"chain"` // identifies the account's history up to this event
	Event   Event           `json:"-"`     // in the form for this account
	JSON    json.RawMessage `json:"event"` // the same, as the ledger has it
}

// A core's answer always has these members.

func (b *Balance) isComplete() bool     { return b.Account != "" }
func (r *Receipt) isComplete() bool     { return r.TransactionID != "" }
func (e *Escrow) isComplete() bool      { return e.EscrowID != "" }
func (t *Transaction) isComplete() bool { return t.TransactionID != "" }
