package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// The types of events.
const (
	TypeEscrowHeld           = "wallet.escrow_held"
	TypeEscrowSettled        = "wallet.escrow_settled"
	TypeEscrowRefunded       = "wallet.escrow_refunded"
	TypeEscrowPartialSettled = "wallet.escrow_partial_settled"
	TypeBalanceUpdated       = "wallet.balance_updated"
)

// Event is one of *EscrowHeld, *EscrowSettled, *EscrowRefunded, *EscrowPartialSettled,
// *BalanceUpdated and *UnknownEvent. Amounts and balances are whole points. Balances are those after
// the event. UserID and ModelID are bare ids, without user: or model:.
type Event interface {
	// Header returns the fields that all events have.
	Header() *EventHeader
}

// EventHeader holds the fields that all events have.
type EventHeader struct {
	EventID       string          `json:"eventId"` // a UUID; both parties' events have the same
	EventType     string          `json:"eventType"`
	Timestamp     time.Time       `json:"timestamp"` // of the transaction, to the millisecond
	TransactionID string          `json:"transactionId"`
	Reason        string          `json:"reason"`
	Source        string          `json:"source"`        // wallet-core
	Version       string          `json:"version"`       // 1.0; a version 1.x may add fields
	CorrelationID string          `json:"correlationId"` // empty if the operation had none
	Metadata      json.RawMessage `json:"metadata"`      // an object; nil if the operation had none
}

// Header implements Event.
func (h *EventHeader) Header() *EventHeader { return h }

// EscrowHeld says that points of a user were held.
type EscrowHeld struct {
	EventHeader
	UserID               string `json:"userId"`
	EscrowID             string `json:"escrowId"`
	Amount               int64  `json:"amount"`
	QueueItemID          string `json:"queueItemId"`
	FeatureType          string `json:"featureType"`
	UserAvailableBalance int64  `json:"userAvailableBalance"`
	UserEscrowBalance    int64  `json:"userEscrowBalance"`
}

// EscrowSettled says that held points moved to a model.
type EscrowSettled struct {
	EventHeader
	UserID             string `json:"userId"`
	ModelID            string `json:"modelId"`
	EscrowID           string `json:"escrowId"`
	Amount             int64  `json:"amount"`
	QueueItemID        string `json:"queueItemId"`
	ModelEarnedBalance *int64 `json:"modelEarnedBalance"` // nil in the user's view
}

// EscrowRefunded says that held points moved back to their user.
type EscrowRefunded struct {
	EventHeader
	UserID               string `json:"userId"`
	EscrowID             string `json:"escrowId"`
	Amount               int64  `json:"amount"`
	QueueItemID          string `json:"queueItemId"`
	UserAvailableBalance int64  `json:"userAvailableBalance"`
	UserEscrowBalance    int64  `json:"userEscrowBalance"`
}

// EscrowPartialSettled says that a part of held points moved to a model, and the rest back to the
// user.
type EscrowPartialSettled struct {
	EventHeader
	UserID               string `json:"userId"`
	ModelID              string `json:"modelId"`
	EscrowID             string `json:"escrowId"`
	RefundAmount         int64  `json:"refundAmount"`
	SettleAmount         int64  `json:"settleAmount"`
	QueueItemID          string `json:"queueItemId"`
	UserAvailableBalance *int64 `json:"userAvailableBalance"` // nil in the model's view
	UserEscrowBalance    *int64 `json:"userEscrowBalance"`    // nil in the model's view
	ModelEarnedBalance   *int64 `json:"modelEarnedBalance"`   // nil in the user's view
}

// BalanceUpdated says that one balance of one account changed.
type BalanceUpdated struct {
	EventHeader
	AccountID     string `json:"accountId"`    // without user: or model:
	AccountType   string `json:"accountType"`  // user or model
	BalanceState  string `json:"balanceState"` // available, escrow or earned
	BalanceBefore int64  `json:"balanceBefore"`
	BalanceAfter  int64  `json:"balanceAfter"`
	ChangeAmount  int64  `json:"changeAmount"` // BalanceAfter minus BalanceBefore
	LedgerEntryID string `json:"ledgerEntryId"`
}

// UnknownEvent is an event of a type that this version of the package does not know.
type UnknownEvent struct {
	EventHeader
	JSON json.RawMessage `json:"-"` // the whole event
}

// DecodeEvent returns the event of a JSON object. Unknown fields are ignored.
func DecodeEvent(data []byte) (Event, error) {
	var header struct {
		EventType string `json:"eventType"`
	}
	err := unmarshal(data, &header)
	if err != nil {
		return nil, fmt.Errorf("decode an event: %w", err)
	}

	event := newEvent(header.EventType)
	err = unmarshal(data, event)
	if err != nil {
		return nil, fmt.Errorf("decode an event of type %s: %w", header.EventType, err)
	}
	unknown, ok := event.(*UnknownEvent)
	if ok {
		unknown.JSON = data
	}
	return event, nil
}

// newEvent returns an empty event of a type.
func newEvent(eventType string) Event {
	switch eventType {
	case TypeEscrowHeld:
		return &EscrowHeld{}
	case TypeEscrowSettled:
		return &EscrowSettled{}
	case TypeEscrowRefunded:
		return &EscrowRefunded{}
	case TypeEscrowPartialSettled:
		return &EscrowPartialSettled{}
	case TypeBalanceUpdated:
		return &BalanceUpdated{}
	default:
		return &UnknownEvent{}
	}
}
