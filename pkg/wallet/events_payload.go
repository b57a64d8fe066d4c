package wallet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// EventHeader holds the fields that all events of the ledger have in common.
type EventHeader struct {
	EventID       string          `json:"eventId"`
	EventType     string          `json:"eventType"`
	Timestamp     time.Time       `json:"timestamp"` // of the transaction, to the millisecond
	TransactionID uuid.UUID       `json:"transactionId"`
	Reason        string          `json:"reason"`
	Source        string          `json:"source"`        // "wallet-core"
	Version       string          `json:"version"`       // "1.0"; a version 1.x may add fields
	CorrelationID string          `json:"correlationId"` // empty if the operation had none
	Metadata      json.RawMessage `json:"metadata"`      // nil if the operation had none
}

// Check returns an error unless the event's version is 1.x. bus.Typed calls it.
func (h *EventHeader) Check() error {
	if !strings.HasPrefix(h.Version, "1.") {
		return fmt.Errorf("event version must be 1.x; got %q", h.Version)
	}

	return nil
}

// EscrowHeld is the event of a hold: a user's points moved into an escrow. The balances are those
// after the operation. In all events UserID and ModelID are bare ids; UserAccount and ModelAccount
// return their accounts.
type EscrowHeld struct {
	EventHeader
	UserID               string    `json:"userId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	Amount               int64     `json:"amount"`
	QueueItemID          string    `json:"queueItemId"`
	FeatureType          string    `json:"featureType"`
	UserAvailableBalance int64     `json:"userAvailableBalance"`
	UserEscrowBalance    int64     `json:"userEscrowBalance"`
}

// EscrowSettled is the event of a settlement: a model earned an escrow's points. The balance is
// that after the operation.
type EscrowSettled struct {
	EventHeader
	UserID             string    `json:"userId"`
	ModelID            string    `json:"modelId"`
	EscrowID           uuid.UUID `json:"escrowId"`
	Amount             int64     `json:"amount"`
	QueueItemID        string    `json:"queueItemId"`
	ModelEarnedBalance int64     `json:"modelEarnedBalance"`
}

// EscrowRefunded is the event of a refund: an escrow's points returned to the user. The balances
// are those after the operation.
type EscrowRefunded struct {
	EventHeader
	UserID               string    `json:"userId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	Amount               int64     `json:"amount"`
	QueueItemID          string    `json:"queueItemId"`
	UserAvailableBalance int64     `json:"userAvailableBalance"`
	UserEscrowBalance    int64     `json:"userEscrowBalance"`
}

// EscrowPartialSettled is the event of a partial settlement: a model earned a part of an escrow's
// points, and the rest returned to the user. The balances are those after the operation.
type EscrowPartialSettled struct {
	EventHeader
	UserID               string    `json:"userId"`
	ModelID              string    `json:"modelId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	RefundAmount         int64     `json:"refundAmount"`
	SettleAmount         int64     `json:"settleAmount"`
	QueueItemID          string    `json:"queueItemId"`
	UserAvailableBalance int64     `json:"userAvailableBalance"`
	UserEscrowBalance    int64     `json:"userEscrowBalance"`
	ModelEarnedBalance   int64     `json:"modelEarnedBalance"`
}

// BalanceUpdated is the event of one changed balance of an account. AccountID is the bare id.
type BalanceUpdated struct {
	EventHeader
	AccountID     string       `json:"accountId"`
	AccountType   AccountType  `json:"accountType"`
	BalanceState  BalanceState `json:"balanceState"`
	BalanceBefore int64        `json:"balanceBefore"`
	BalanceAfter  int64        `json:"balanceAfter"`
	ChangeAmount  int64        `json:"changeAmount"` // signed
	LedgerEntryID uuid.UUID    `json:"ledgerEntryId"`
}

// Account returns the account whose balance changed.
func (e *BalanceUpdated) Account() Account {
	return Account(string(e.AccountType) + ":" + e.AccountID)
}

// OnEscrowHeld returns a handler that calls handle for each EventEscrowHeld. It is meant for a
// bus.Subscription. bus.Route combines several handlers.
func OnEscrowHeld(handle func(ctx context.Context, e EscrowHeld) error) bus.Handler {
	return bus.Typed(EventEscrowHeld, handle)
}

// OnEscrowSettled returns a handler that calls handle for each EventEscrowSettled.
func OnEscrowSettled(handle func(ctx context.Context, e EscrowSettled) error) bus.Handler {
	return bus.Typed(EventEscrowSettled, handle)
}

// OnEscrowRefunded returns a handler that calls handle for each EventEscrowRefunded.
func OnEscrowRefunded(handle func(ctx context.Context, e EscrowRefunded) error) bus.Handler {
	return bus.Typed(EventEscrowRefunded, handle)
}

// OnEscrowPartialSettled returns a handler that calls handle for each EventEscrowPartialSettled.
func OnEscrowPartialSettled(handle func(ctx context.Context, e EscrowPartialSettled) error) bus.Handler {
	return bus.Typed(EventEscrowPartialSettled, handle)
}

// OnBalanceUpdated returns a handler that calls handle for each EventBalanceUpdated.
func OnBalanceUpdated(handle func(ctx context.Context, e BalanceUpdated) error) bus.Handler {
	return bus.Typed(EventBalanceUpdated, handle)
}
