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

// EventHeader has the fields that all events of the ledger have.
type EventHeader struct {
	EventID       string          `json:"eventId"`
	EventType     string          `json:"eventType"`
	Timestamp     time.Time       `json:"timestamp"` // of the transaction, to the millisecond
	TransactionID uuid.UUID       `json:"transactionId"`
	Reason        string          `json:"reason"`
	Source        string          `json:"source"`        // "wallet-core"
	Version       string          `json:"version"`       // "1.0"; fields may be added in 1.x
	CorrelationID string          `json:"correlationId"` // empty: none was given
	Metadata      json.RawMessage `json:"metadata"`      // nil: none was given
}

// Check refuses events of versions other than 1.x. bus.Typed calls it.
func (h *EventHeader) Check() error {
	if !strings.HasPrefix(h.Version, "1.") {
		return fmt.Errorf("version %q must be 1.x, which this program knows", h.Version)
	}
	return nil
}

// EscrowHeld says that a user's points went into escrow.
type EscrowHeld struct {
	EventHeader
	UserID               Account   `json:"userId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	Amount               int64     `json:"amount"`
	QueueItemID          string    `json:"queueItemId"`
	FeatureType          string    `json:"featureType"`
	UserAvailableBalance int64     `json:"userAvailableBalance"` // after it
	UserEscrowBalance    int64     `json:"userEscrowBalance"`    // after it
}

// EscrowSettled says that a model earned an escrow's points.
type EscrowSettled struct {
	EventHeader
	UserID             Account   `json:"userId"`
	ModelID            Account   `json:"modelId"`
	EscrowID           uuid.UUID `json:"escrowId"`
	Amount             int64     `json:"amount"`
	QueueItemID        string    `json:"queueItemId"`
	ModelEarnedBalance int64     `json:"modelEarnedBalance"` // after it
}

// EscrowRefunded says that an escrow's points went back to the user.
type EscrowRefunded struct {
	EventHeader
	UserID               Account   `json:"userId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	Amount               int64     `json:"amount"`
	QueueItemID          string    `json:"queueItemId"`
	UserAvailableBalance int64     `json:"userAvailableBalance"` // after it
	UserEscrowBalance    int64     `json:"userEscrowBalance"`    // after it
}

// EscrowPartialSettled says that a part of an escrow's points went to a model and the rest back to
// the user.
type EscrowPartialSettled struct {
	EventHeader
	UserID               Account   `json:"userId"`
	ModelID              Account   `json:"modelId"`
	EscrowID             uuid.UUID `json:"escrowId"`
	RefundAmount         int64     `json:"refundAmount"`
	SettleAmount         int64     `json:"settleAmount"`
	QueueItemID          string    `json:"queueItemId"`
	UserAvailableBalance int64     `json:"userAvailableBalance"` // after it
	UserEscrowBalance    int64     `json:"userEscrowBalance"`    // after it
	ModelEarnedBalance   int64     `json:"modelEarnedBalance"`   // after it
}

// BalanceUpdated says that one balance of an account changed.
type BalanceUpdated struct {
	EventHeader
	AccountID     Account      `json:"accountId"`
	AccountType   AccountType  `json:"accountType"`
	BalanceState  BalanceState `json:"balanceState"`
	BalanceBefore int64        `json:"balanceBefore"`
	BalanceAfter  int64        `json:"balanceAfter"`
	ChangeAmount  int64        `json:"changeAmount"` // signed
	LedgerEntryID uuid.UUID    `json:"ledgerEntryId"`
}

// OnEscrowHeld makes a function a handler of EventEscrowHeld, for a bus.Subscription. bus.Route
// combines several handlers.
func OnEscrowHeld(handle func(ctx context.Context, e EscrowHeld) error) bus.Handler {
	return bus.Typed(EventEscrowHeld, handle)
}

// OnEscrowSettled makes a function a handler of EventEscrowSettled.
func OnEscrowSettled(handle func(ctx context.Context, e EscrowSettled) error) bus.Handler {
	return bus.Typed(EventEscrowSettled, handle)
}

// OnEscrowRefunded makes a function a handler of EventEscrowRefunded.
func OnEscrowRefunded(handle func(ctx context.Context, e EscrowRefunded) error) bus.Handler {
	return bus.Typed(EventEscrowRefunded, handle)
}

// OnEscrowPartialSettled makes a function a handler of EventEscrowPartialSettled.
func OnEscrowPartialSettled(handle func(ctx context.Context, e EscrowPartialSettled) error) bus.Handler {
	return bus.Typed(EventEscrowPartialSettled, handle)
}

// OnBalanceUpdated makes a function a handler of EventBalanceUpdated.
func OnBalanceUpdated(handle func(ctx context.Context, e BalanceUpdated) error) bus.Handler {
	return bus.Typed(EventBalanceUpdated, handle)
}
