package coreapi

import (
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// The answers of the listings. Optional members are absent, never null or "". Metadata, and
// a transaction's entries, are written by encode.go.

type entryShape struct {
	EntryID       uuid.UUID `json:"entryId" format:"uuid"`
	TransactionID uuid.UUID `json:"transactionId" format:"uuid"`
	AccountID     string    `json:"accountId" example:"user:u1"`
	BalanceState  string    `json:"balanceState" enum:"available,escrow,earned,system" doc:"The balance that the entry changes."`
	Amount        int64     `json:"amount" example:"-100" doc:"Signed; the amounts of a transaction sum to zero."`
	BalanceBefore int64     `json:"balanceBefore" example:"500" doc:"0 for a system account, which has no running balance."`
	BalanceAfter  int64     `json:"balanceAfter" example:"400"`
	Seq           int64     `json:"seq" example:"3" doc:"seq of the entry's wallet.balance_updated event; 0 for a system account."`
	Operation     string    `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	Reason        string    `json:"reason" example:"chip_menu_purchase"`
	EscrowID      string    `json:"escrowId,omitempty" format:"uuid"`
	QueueItemID   string    `json:"queueItemId,omitempty" example:"queue-1"`
	FeatureType   string    `json:"featureType,omitempty" example:"chip_menu"`
	CorrelationID string    `json:"correlationId,omitempty" example:"order-4711"`
	RequestID     string    `json:"requestId,omitempty"`
	Metadata      object    `json:"metadata,omitempty"`
	Hash          string    `json:"hash" doc:"SHA-256 over the account's previous hash and this entry, in hex: a chain that shows tampering."`
	Timestamp     string    `json:"timestamp" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
}

func shapeEntry(e *wallet.Entry) entryShape {
	return entryShape{
		EntryID: e.ID, TransactionID: e.TransactionID, AccountID: string(e.Account), BalanceState: string(e.State),
		Amount: e.Amount, BalanceBefore: e.BalanceBefore, BalanceAfter: e.BalanceAfter, Seq: e.Seq,
		Operation: string(e.Operation), Reason: e.Reason, EscrowID: optionalID(e.EscrowID),
		QueueItemID: e.QueueItemID, FeatureType: e.FeatureType, CorrelationID: e.CorrelationID, RequestID: e.RequestID,
		Hash: hex.EncodeToString(e.Hash), Timestamp: stamp(e.CreatedAt),
	}
}

type entriesShape struct {
	Entries []entryShape `json:"entries" nullable:"false" doc:"Newest first."`
	Next    string       `json:"next,omitempty" doc:"The cursor of the next page: pass it as before. Absent: no more."`
}

type escrowShape struct {
	EscrowID           uuid.UUID `json:"escrowId" format:"uuid"`
	UserID             string    `json:"userId" example:"user:u1" doc:"The account whose points are held."`
	Amount             int64     `json:"amount" example:"100"`
	Status             string    `json:"status" enum:"held,settled,refunded,partially_settled"`
	Reason             string    `json:"reason" example:"chip_menu_purchase" doc:"The hold's reason."`
	QueueItemID        string    `json:"queueItemId" example:"queue-1"`
	FeatureType        string    `json:"featureType" example:"chip_menu"`
	CreatedAt          string    `json:"createdAt" format:"date-time"`
	ExpiresAt          string    `json:"expiresAt,omitempty" format:"date-time"`
	ClosedAt           string    `json:"closedAt,omitempty" format:"date-time"`
	ModelID            string    `json:"modelId,omitempty" example:"model:m1" doc:"Who earned."`
	RefundAmount       int64     `json:"refundAmount,omitempty" example:"40" doc:"What went back to the user."`
	SettleAmount       int64     `json:"settleAmount,omitempty" example:"60" doc:"What the model earned."`
	HoldTransactionID  uuid.UUID `json:"holdTransactionId" format:"uuid"`
	CloseTransactionID string    `json:"closeTransactionId,omitempty" format:"uuid"`
}

func shapeEscrow(e *wallet.Escrow) escrowShape {
	return escrowShape{
		EscrowID: e.ID, UserID: string(e.User), Amount: e.Amount, Status: string(e.Status),
		Reason: e.Reason, QueueItemID: e.QueueItemID, FeatureType: e.FeatureType,
		CreatedAt: stamp(e.CreatedAt), ExpiresAt: optionalTime(e.ExpiresAt), ClosedAt: optionalTime(e.ClosedAt),
		ModelID: string(e.Model), RefundAmount: e.RefundAmount, SettleAmount: e.SettleAmount,
		HoldTransactionID: e.HeldBy, CloseTransactionID: optionalID(e.ClosedBy),
	}
}

type escrowsShape struct {
	Escrows []escrowShape `json:"escrows" nullable:"false" doc:"Newest first."`
	Next    string        `json:"next,omitempty" doc:"The cursor of the next page: pass it as before. Absent: no more."`
}

type transactionShape struct {
	TransactionID uuid.UUID    `json:"transactionId" format:"uuid"`
	Operation     string       `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	Amount        int64        `json:"amount" example:"100"`
	RefundAmount  int64        `json:"refundAmount,omitempty" doc:"Of a partial settlement."`
	SettleAmount  int64        `json:"settleAmount,omitempty" doc:"Of a partial settlement."`
	Reason        string       `json:"reason" example:"chip_menu_purchase"`
	EscrowID      string       `json:"escrowId,omitempty" format:"uuid"`
	QueueItemID   string       `json:"queueItemId,omitempty" example:"queue-1"`
	FeatureType   string       `json:"featureType,omitempty" example:"chip_menu"`
	CorrelationID string       `json:"correlationId,omitempty" example:"order-4711"`
	RequestID     string       `json:"requestId,omitempty"`
	Metadata      object       `json:"metadata,omitempty"`
	Timestamp     string       `json:"timestamp" format:"date-time"`
	Entries       []entryShape `json:"entries" nullable:"false" doc:"All of its entries, of the system accounts too. Their amounts sum to zero."`
}

func shapeTransaction(t *wallet.Transaction) transactionShape {
	return transactionShape{
		TransactionID: t.ID, Operation: string(t.Operation), Amount: t.Amount,
		RefundAmount: t.RefundAmount, SettleAmount: t.SettleAmount, Reason: t.Reason, EscrowID: optionalID(t.EscrowID),
		QueueItemID: t.QueueItemID, FeatureType: t.FeatureType, CorrelationID: t.CorrelationID, RequestID: t.RequestID,
		Timestamp: stamp(t.CreatedAt), Entries: []entryShape{},
	}
}

// The following describe, in the OpenAPI document, what encode.go writes.

type balanceShape struct {
	AccountID        string `json:"accountId" example:"user:u1"`
	AccountType      string `json:"accountType" enum:"user,model"`
	AvailableBalance int64  `json:"availableBalance,omitempty" example:"400" doc:"What a user can spend. A model has none."`
	EscrowBalance    int64  `json:"escrowBalance,omitempty" example:"100" doc:"What is held of a user's points. A model has none."`
	EarnedBalance    int64  `json:"earnedBalance,omitempty" doc:"What a model has earned. A user has none."`
	Currency         string `json:"currency" enum:"points"`
	Seq              int64  `json:"seq" example:"4" doc:"seq of the account's newest event that these amounts include."`
	LastUpdated      string `json:"lastUpdated" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
}

type receiptShape struct {
	TransactionID uuid.UUID      `json:"transactionId" format:"uuid"`
	Operation     string         `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	EscrowID      string         `json:"escrowId,omitempty" format:"uuid" doc:"Absent for credits and debits."`
	Amount        int64          `json:"amount" example:"100" doc:"Of a partial settlement: the escrow's amount."`
	Timestamp     string         `json:"timestamp" format:"date-time" example:"2026-11-23T19:02:58.123Z"`
	Balances      []balanceShape `json:"balances" nullable:"false" doc:"Of every account that the operation changed, after it: the user's first."`
}

type eventShape struct {
	Account string         `json:"account" example:"user:u1"`
	Seq     int64          `json:"seq" example:"42" doc:"The event's number among this account's events: 1, 2, 3 … with no hole."`
	Event   map[string]any `json:"event" doc:"The event as this account may see it: eventId, eventType, timestamp, transactionId, reason, source, version and what the type adds."`
}

type eventsShape struct {
	Events []eventShape `json:"events" nullable:"false" doc:"Oldest first."`
	Last   int64        `json:"last" example:"42" doc:"The account's newest seq. More is to be had when it is above the last event's."`
}

func stamp(t time.Time) string { return t.UTC().Format(bus.TimeFormat) }

func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

func optionalID(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}
