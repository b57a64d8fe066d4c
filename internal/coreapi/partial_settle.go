package coreapi

import (
	"net/http"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/pkg/wallet"
)

// partialSettleBody is the body of a partial settlement. wallet.Op.Validate validates it.
type partialSettleBody struct {
	ModelID       string `json:"modelId" example:"m1" doc:"The model that earns the points: the bare <id>, or model:<id>. Both are the same request."`
	RefundAmount  int64  `json:"refundAmount" minimum:"1" maximum:"9007199254740991" example:"40" doc:"The points that are returned to the user. The sum of refundAmount and settleAmount must equal the escrow's amount."`
	SettleAmount  int64  `json:"settleAmount" minimum:"1" maximum:"9007199254740991" example:"60" doc:"The points that the model earns."`
	Reason        string `json:"reason" pattern:"^[a-z][a-z0-9_]{0,63}$" example:"partial_performance" doc:"The reason, as a structured code."`
	QueueItemID   string `json:"queueItemId" minLength:"1" maxLength:"255" example:"queue-1" doc:"The queue item that closes the escrow."`
	Metadata      object `json:"metadata,omitempty" doc:"Any JSON object of at most 8 KiB that nests at most 16 levels deep."`
	CorrelationID string `json:"correlationId,omitempty" maxLength:"255" example:"order-4711" doc:"Your own reference for the operation. The default is the traceparent header."`
}

var partialSettleDoc = operationDoc{
	id:      "partial-settle",
	path:    "/v1/escrows/{escrowId}/partial-settle",
	scope:   auth.ScopeSettle,
	summary: "Settle a part of an escrow and refund the rest",
	description: "Returns refundAmount to the user and moves settleAmount to the model. Each must be " +
		"at least 1, and their sum must equal the escrow's amount.",
	status:   http.StatusOK,
	body:     partialSettleBody{},
	target:   escrowParam,
	refusals: escrowRefusals,
}

// settlePartially serves POST /v1/escrows/{escrowId}/partial-settle.
func settlePartially(c *call) error {
	var body partialSettleBody
	headers, err := c.readOperation(auth.ScopeSettle, &body)
	if err != nil {
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
		Metadata:       body.Metadata.rawJSON(),
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
