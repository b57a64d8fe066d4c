package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// partialSettleBody is the body of a partial settlement. The ledger validates it (wallet.Op.Validate).
type partialSettleBody struct {
	ModelID       string `json:"modelId" example:"model:m1" doc:"Who earns: model:<id>, or the bare <id>."`
	RefundAmount  int64  `json:"refundAmount" minimum:"1" maximum:"9007199254740991" example:"40" doc:"What goes back to the user. With settleAmount it adds up to the escrow's amount."`
	SettleAmount  int64  `json:"settleAmount" minimum:"1" maximum:"9007199254740991" example:"60" doc:"What the model earns."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"partial_performance" doc:"Why, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue's item that ends the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object up to 8 KiB."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"When absent, the header traceparent stands in."`
}

var partialSettleDoc = operationDoc{
	id:          "partial-settle",
	path:        "/v1/escrows/{escrowId}/partial-settle",
	scope:       auth.ScopeSettle,
	summary:     "Settle a part of an escrow, refund the rest",
	description: "refundAmount goes back to the user, settleAmount to the model; they add up to the escrow's amount and are at least 1 each.",
	status:      http.StatusOK,
	body:        partialSettleBody{},
	target:      escrowParam,
	refusals:    []int{http.StatusNotFound, http.StatusConflict},
}

// settlePartially serves POST /v1/escrows/{escrowId}/partial-settle.
func settlePartially(c *call) error {
	if err := c.authenticate(); err != nil {
		return err
	}
	if err := c.requireScope(auth.ScopeSettle); err != nil {
		return err
	}

	headers, err := c.readOperationHeaders()
	if err != nil {
		return err
	}
	var body partialSettleBody
	if err := c.decodeBody(&body); err != nil {
		return err
	}
	escrowID, err := c.escrowID()
	if err != nil {
		return err
	}

	receipt, err := c.commitOperation(&wallet.Op{
		Operation:      wallet.OpPartialSettle,
		IdempotencyKey: headers.idempotencyKey,
		EscrowID:       escrowID,
		Model:          modelAccount(body.ModelID),
		RefundAmount:   body.RefundAmount,
		SettleAmount:   body.SettleAmount,
		Reason:         body.Reason,
		QueueItemID:    body.QueueItemID,
		Metadata:       body.Metadata.raw(),
		CorrelationID:  body.CorrelationID,
		RequestID:      headers.requestID,
		TraceParent:    headers.traceParent,
	})
	if err != nil {
		return err
	}

	c.writeReceipt(http.StatusOK, &receipt)
	return nil
}
