package coreapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// transactionShape is a transaction in an answer. Optional members are absent, never null or "".
// appendTransaction adds the metadata and the entries.
type transactionShape struct {
	TransactionID uuid.UUID    `json:"transactionId" format:"uuid"`
	Operation     string       `json:"operation" enum:"credit,debit,hold,settle,refund,partial_settle"`
	Amount        int64        `json:"amount" example:"100"`
	RefundAmount  int64        `json:"refundAmount,omitempty" doc:"Only for a partial settlement."`
	SettleAmount  int64        `json:"settleAmount,omitempty" doc:"Only for a partial settlement."`
	Reason        string       `json:"reason" example:"chip_menu_purchase"`
	EscrowID      string       `json:"escrowId,omitempty" format:"uuid"`
	QueueItemID   string       `json:"queueItemId,omitempty" example:"queue-1"`
	FeatureType   string       `json:"featureType,omitempty" example:"chip_menu"`
	CorrelationID string       `json:"correlationId,omitempty" example:"order-4711"`
	RequestID     string       `json:"requestId,omitempty"`
	Metadata      object       `json:"metadata,omitempty"`
	Timestamp     string       `json:"timestamp" format:"date-time"`
	Entries       []entryShape `json:"entries" nullable:"false" doc:"All entries of the transaction, including those of system accounts. Their amounts sum to zero."`
}

func newTransactionShape(t *wallet.Transaction) transactionShape {
	return transactionShape{
		TransactionID: t.ID,
		Operation:     string(t.Operation),
		Amount:        t.Amount,
		RefundAmount:  t.RefundAmount,
		SettleAmount:  t.SettleAmount,
		Reason:        t.Reason,
		EscrowID:      optionalID(t.EscrowID),
		QueueItemID:   t.QueueItemID,
		FeatureType:   t.FeatureType,
		CorrelationID: t.CorrelationID,
		RequestID:     t.RequestID,
		Timestamp:     formatTime(t.CreatedAt),
		Entries:       []entryShape{},
	}
}

var transactionDoc = queryDoc{
	id:       "get-transaction",
	path:     "/v1/transactions/{transactionId}",
	summary:  "A transaction with its entries",
	readers:  readScope,
	answer:   transactionShape{},
	notFound: "transaction_not_found",
	params:   []param{transactionParam},
}

// getTransaction serves GET /v1/transactions/{transactionId}.
func getTransaction(c *call) error {
	err := c.authenticate()
	if err != nil {
		return err
	}
	err = c.requireScope(auth.ScopeRead)
	if err != nil {
		return err
	}

	id, ok := parseUUID(c.r.PathValue("transactionId"))
	if !ok {
		return invalidField("/transactionId", "a transaction's id must be a UUID of 36 characters")
	}
	_, err = c.readQuery()
	if err != nil {
		return err
	}

	var transaction wallet.Transaction
	err = c.readLedger(func(ctx context.Context) (err error) {
		transaction, err = c.api.ledger.Transaction(ctx, id)
		return err
	})
	if err != nil {
		return err
	}

	body, err := appendTransaction(c.newBody(), &transaction)
	if err != nil {
		return err
	}
	c.writeBody(http.StatusOK, body)
	return nil
}

func appendTransaction(b []byte, t *wallet.Transaction) ([]byte, error) {
	b, err := appendWithMetadata(b, newTransactionShape(t), t.Metadata, `,"timestamp":"`)
	if err != nil {
		return nil, err
	}

	b = b[:len(b)-len(`[]}`)] // the shape has an empty list of entries
	b, err = appendEntries(b, t.Entries)
	if err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}
